"""Trace trees that grow span by span, in any order, and which of their spans is the record of a call.

A tree is a set of nodes linked both ways (a node knows its parent, its first child and its next sibling),
so that one more span touches only its neighbours however large the trace is. Two kinds of facts move along
the links, each monotone, so that the result does not depend on the order in which spans arrive:

* up: "a descendant bears tokens", "a descendant is a model call" (each flips once per node);
* down: the `Context`: identity, the tool that encloses, whether a model call above bears the tokens.

Nothing here decides on prices. `standing` is the leaf rule: a token is billed once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from .identity import NOBODY, Identity
from .span import Role, Span

ARRIVED = 1
ROLE_SHIFT = 1
ROLE_MASK = 0b1110
BEARS_TOKENS = 1 << 4
TOKENS_BELOW = 1 << 5
CALL_BELOW = 1 << 6
COVERED = 1 << 7
"""A model call above bears the tokens of this one."""
CUT = 1 << 8
"""The span lies on a cycle of parents, so its parent is ignored."""
TWIN = 1 << 9
"""Another span, not above or below, is the record of the same call."""
CACHED = 1 << 10
ECHO = 1 << 11
"""A span of another instrumentation, anywhere, is the record of the same call."""
LISTED = 1 << 12
"""The span is among those that are looked through for echoes."""
UNSEEN = 1 << 13
"""An agent whose instrumentation tells of no call of a model."""
STRUCK = 1 << 14
"""Somebody took the bill for this span back by hand."""
TOLD = 1 << 15
"""A tool call whose tokens calls of models tell of, in traces that do not know of it."""
_BELOW = TOKENS_BELOW | CALL_BELOW
_COPY = TWIN | ECHO
_MODEL, _TOOL, _AGENT, _USAGE = (
    role << ROLE_SHIFT for role in (Role.MODEL, Role.TOOL, Role.AGENT, Role.USAGE)
)
_TOOL_ROLE, _AGENT_ROLE = int(Role.TOOL), int(Role.AGENT)
_TELLING = _BELOW | BEARS_TOKENS | UNSEEN | _MODEL
"""What a node may have to tell its ancestors."""


class Context(NamedTuple):
    """What a span learns from the spans above it."""

    identity: Identity = NOBODY
    within: str = ""
    covered: bool = False


ROOT = Context()


class Node:
    """One span of a tree, or the place of a span that has not arrived but has children.

    `span` is None until somebody needs it; `identity` is the effective one, inheritance included; `outcome`
    is how a tool call went if another span of the same call knows better than its own, `cost` what it cost if
    only another one says so, `fuller` the span that knows more of its tokens: the one around a model call, another
    one of a tool call. `told_below` says that below another span of a tool call the tokens are told.
    """

    # Class attributes are the defaults: most nodes live for one transaction and change only a few.
    span: Span | None = None
    identity: Identity = NOBODY
    label: str = ""
    within: str = ""
    outcome: str = ""
    cost: str = ""
    fuller: Span | None = None
    told_below: bool = False
    parent_id: int = 0
    first_child: int = 0
    next_sibling: int = 0
    strand_no: int = 0
    event_no: int = 0
    stored: bool = False

    def __init__(self, span_id: int) -> None:
        self.span_id = span_id
        self.flags = 0
        self.batch_no = 0
        self.position = 0

    @property
    def role(self) -> int:
        """The span's `Role`."""
        return (self.flags & ROLE_MASK) >> ROLE_SHIFT


class Tree:
    """The part of one trace that is in memory; `load` brings a stored node when it is needed."""

    __slots__ = ("changed", "fresh", "left", "load", "nodes", "read", "telling", "trace_id", "trace_no")

    def __init__(
        self,
        trace_id: bytes,
        trace_no: int,
        load: Callable[[int, int], Node | None] | None,
        read: Callable[[Node], Span],
    ) -> None:
        self.trace_id = trace_id
        self.trace_no = trace_no
        self.load = load
        self.read = read
        self.nodes: dict[int, Node] = {}
        self.fresh: list[Node] = []
        """Nodes whose span arrived since the last `settle`."""
        self.telling: list[Node] = []
        """Tool calls that failed, tell of cost or tokens, or have learnt what encloses them, since `settle`."""
        self.changed: dict[int, Node] = {}
        """Nodes that are new or different from what is stored."""
        self.left: set[int] = set()
        """Numbers of the sessions that spans of this tree have moved out of."""

    def find(self, span_id: int) -> Node | None:
        """The node of a span, from memory or from the store."""
        node = self.nodes.get(span_id)
        if node is None and self.load is not None:
            node = self.load(self.trace_no, span_id)
            if node is not None:
                self.nodes[span_id] = node
        return node

    def span(self, node: Node) -> Span:
        """The span of an arrived node, read again from where it is kept if need be."""
        if node.span is None:
            node.span = self.read(node)
        return node.span

    def children(self, node: Node) -> list[Node]:
        """The arrived children whose parent link counts."""
        found = []
        nodes = self.nodes
        child_id = node.first_child
        while child_id:
            child = nodes.get(child_id) or self.find(child_id)
            if child is None:
                break
            if not child.flags & CUT:
                found.append(child)
            child_id = child.next_sibling
        return found


def link(tree: Tree, span: Span, batch_no: int, position: int) -> Node | None:
    """Put a span into its tree; None when a span of that id is already there."""
    _, span_id, parent_id, role, _, _, _, _, _, label, _, _, status, _, quality, tokens, cost, _, _, _, _ = (
        span
    )
    nodes, changed = tree.nodes, tree.changed
    node = nodes.get(span_id) or tree.find(span_id)
    if node is None:
        node = nodes[span_id] = Node(span_id)
    elif node.flags & ARRIVED:
        return None
    flags = node.flags | ARRIVED | role << ROLE_SHIFT
    if quality == "cached_response":
        flags |= CACHED
    elif tokens is not None and tokens[0] + tokens[1] > 0 and role != _TOOL_ROLE:
        flags |= BEARS_TOKENS
    elif quality == "missing" and role == _AGENT_ROLE:
        flags |= UNSEEN
    node.flags = flags
    node.span = span
    node.batch_no = batch_no
    node.position = position
    if role == _TOOL_ROLE:
        node.label = label
        if status != "SUCCESS" or cost or tokens is not None:
            tree.telling.append(node)
    tree.fresh.append(node)
    changed[span_id] = node
    if parent_id:
        node.parent_id = parent_id
        parent = nodes.get(parent_id) or tree.find(parent_id)
        if parent is None:
            parent = nodes[parent_id] = Node(parent_id)
        if parent.first_child:
            node.next_sibling = parent.first_child
        parent.first_child = span_id
        changed[parent_id] = parent
        cycle = _cycle(tree, node, parent) if node.first_child and parent.flags & ARRIVED else None
        if cycle:
            _cut(tree, cycle)
        elif flags & _TELLING:
            _raise_flags(tree, node, parent)
    return node


def _raise_flags(tree: Tree, node: Node, parent: Node) -> None:
    """Tell the ancestors what is below them; stops where they know already."""
    flags = node.flags
    raised = flags & _BELOW
    if flags & BEARS_TOKENS:
        raised |= TOKENS_BELOW
    if (flags & ROLE_MASK == _MODEL and not flags & CACHED) or flags & UNSEEN:
        raised |= CALL_BELOW
    above: Node | None = parent
    while above is not None and raised & ~above.flags:
        above.flags |= raised
        tree.changed[above.span_id] = above
        if not above.flags & ARRIVED or above.flags & CUT or not above.parent_id:
            return
        above = tree.find(above.parent_id)


def _cycle(tree: Tree, node: Node, parent: Node) -> list[Node] | None:
    """The spans of the cycle that linking `node` below `parent` has closed, if it has."""
    path = [node]
    above: Node | None = parent
    while above is not None and above.flags & ARRIVED and not above.flags & CUT:
        if above is node:
            return path
        path.append(above)
        above = tree.find(above.parent_id) if above.parent_id else None
    return None


def _cut(tree: Tree, cycle: list[Node]) -> None:
    """Make every span of a cycle a root: which one closed it depends on the order, that it is one does not."""
    for node in cycle:
        node.flags = (node.flags | CUT) & ~_BELOW
        tree.changed[node.span_id] = node
        tree.fresh.append(node)
    for node in cycle:
        for child in tree.children(node):
            _raise_flags(tree, child, node)


def settle(tree: Tree) -> None:
    """Hand identity and context down from the spans that arrived to whatever hangs below them."""
    fresh = tree.fresh
    pending = {node.span_id for node in fresh}
    for node in fresh:
        if node.span_id not in pending:
            continue
        parent = None
        if node.parent_id and not node.flags & CUT:
            if node.parent_id in pending:
                continue  # reached from its parent
            parent = tree.find(node.parent_id)
        context = below(parent) if parent is not None and parent.flags & ARRIVED else ROOT
        _hand_down(tree, node, context, pending)
    tree.fresh = []
    for node in tree.telling:
        _tell_record(tree, node)
    tree.telling.clear()


def below(node: Node) -> Context:
    """The context that the children of an arrived node see."""
    flags = node.flags
    role = flags & ROLE_MASK
    if role == _MODEL:
        return Context(node.identity, "", bool(flags & (COVERED | BEARS_TOKENS)))
    if role == _TOOL:
        return Context(node.identity, node.label or node.within, False)
    if role == _AGENT:
        return Context(node.identity, "", False)
    return Context(node.identity, node.within, bool(flags & COVERED))


def _hand_down(tree: Tree, top: Node, context: Context, pending: set[int]) -> None:
    stack = [(context, [top])]
    while stack:
        (given, within, covered), nodes = stack.pop()
        for node in nodes:
            span = node.span or tree.span(node)
            identity = span.identity
            if identity is given or identity == given:
                identity = given  # the same object, so that whoever groups by it need not compare
            else:
                identity = identity.inherit(given)
            if span.caller is not NOBODY:
                identity = identity.inherit(span.caller)
            if node.span_id in pending:
                pending.remove(node.span_id)
            elif (identity, within, covered) == (node.identity, node.within, bool(node.flags & COVERED)):
                continue
            else:
                tree.changed[node.span_id] = node
                if node.flags & ROLE_MASK == _TOOL:
                    tree.telling.append(node)
            node.identity = identity
            if within or node.within:
                node.within = within
            if covered:
                node.flags |= COVERED
            elif node.flags & COVERED:
                node.flags &= ~COVERED
            if node.first_child:
                stack.append((below(node), tree.children(node)))


def is_inner_tool(node: Node) -> bool:
    """Whether a tool span tells of the same call as the tool span that encloses it."""
    return node.within != "" and (node.label == node.within or not node.label)


def _tell_record(tree: Tree, node: Node) -> None:
    """Have the record of a tool call looked at again: a span inside of it knows something."""
    while is_inner_tool(node):
        above = tree.find(node.parent_id)
        while above is not None and above.flags & ROLE_MASK != _TOOL:
            above = tree.find(above.parent_id)
        if above is None:
            return
        tree.changed[above.span_id] = node = above


class Standing(Enum):
    """What a span counts for; everything but RECORD costs nothing."""

    RECORD = "billed"
    """The record of a call, of hand-recorded usage, a total without any call below it, or an agent of whose
    calls nobody tells.
    """
    CLAIM = "claim"
    """A total of what is billed below."""
    WRAPPER = "wrapper"
    """The same call as the span below (model) or above (tool)."""
    TWIN = "twin"
    """The same call as a span elsewhere."""
    STRUCK = "voided"
    """Taken back by hand."""
    NONE = "structure"
    """Bills nothing by nature."""


_RECORD, _CLAIM, _WRAPPER, _TWIN, _STRUCK, _NONE = Standing  # an enum's own look-up is slow


def standing(node: Node, ignored: int = 0) -> Standing:
    """The leaf rule, from what the links have told the node; `ignored` are flags to take as not set."""
    flags = node.flags & ~ignored
    if flags & (_COPY | STRUCK):
        return _TWIN if flags & _COPY else _STRUCK
    role = flags & ROLE_MASK
    if role == _MODEL:
        if flags & BEARS_TOKENS:
            return _CLAIM if flags & TOKENS_BELOW else _RECORD
        return _WRAPPER if flags & _BELOW else _RECORD
    if role == _TOOL:
        return _WRAPPER if is_inner_tool(node) else _RECORD
    if role == _AGENT and flags & BEARS_TOKENS:
        return _CLAIM if flags & TOKENS_BELOW else _RECORD
    if flags & UNSEEN and not flags & _BELOW:
        return _RECORD
    return _RECORD if role == _USAGE else _NONE
