"""Finds the echoes among a customer's calls, and keeps the list of calls that they are found in.

Nearly every customer has one instrumentation, and then there is nothing to do but to see that it is still the
same one. From the first call that another one tells of, the customer's calls are listed by their start, those
of the latest `CALLS_LOOKED_BACK_MAX` before it included; that is the one window: a second instrumentation
whose spans come later than that after the first one's is billed beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from aforo_collector.domain.chains import ask_inside
from aforo_collector.domain.echoes import (
    CALLS_WITHIN_NS,
    STARTS_APART_MAX_NS,
    Call,
    Neighbourhood,
    call_of,
    echoes_of,
    is_told,
    struck,
)
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.span import Role
from aforo_collector.domain.trace import (
    ARRIVED,
    ECHO,
    LISTED,
    ROLE_MASK,
    ROLE_SHIFT,
    STRUCK,
    TOLD,
    UNSEEN,
    Node,
    Standing,
    Tree,
    standing,
)
from aforo_collector.store.interning import Bounded
from aforo_collector.store.sqlite_writer import SqliteWriter

CALLS_LOOKED_BACK_MAX = 2_000
CALLS_COMPARED_MAX = 65_536
"""At more calls of one customer within seconds, those that started last are not compared."""
STRETCH_MAX_NS = 10 * STARTS_APART_MAX_NS
"""Calls that came or went within this time are looked around for in one go."""
_CALLS = (Role.MODEL << ROLE_SHIFT, Role.TOOL << ROLE_SHIFT)

_NONE: frozenset[str] = frozenset()

TreeOf = Callable[[int, bytes], Tree]
"""(tenant number, trace id) -> the tree that this transaction works on."""


class Echoes:
    """Marks nodes with ECHO, inside the writer's transaction."""

    def __init__(self, store: SqliteWriter, tree_of: TreeOf) -> None:
        self._store = store
        self._tree_of = tree_of
        self._sources: Bounded[tuple[int, str], frozenset[str]] = Bounded(20_000)
        """(tenant number, customer id) -> the instrumentations that tell of its calls."""
        self._newly_several: list[tuple[int, int]] = []
        """(tenant number, customer number) whose second instrumentation this transaction has shown."""

    def forget(self) -> None:
        """Drop what a rollback may have made wrong."""
        self._sources.clear()
        self._newly_several.clear()

    def mark(self, trees: Iterable[tuple[int, Tree]]) -> bool:
        """Look at the calls that changed in these trees of (tenant number); other nodes may change with them.

        Says whether they may have.
        """
        trees = list(trees)
        several = [self._told_by_several(tenant_no, tree) for tenant_no, tree in trees]
        if not any(several):
            return False
        for tenant_no, customer_no in self._newly_several:
            self._look_back(tenant_no, customer_no)
        self._newly_several.clear()
        dirty: dict[tuple[int, int], list[Call]] = defaultdict(list)
        for tenant_no, tree in trees:
            for node in list(tree.changed.values()):
                if _is_call(node):
                    self._list(tenant_no, tree, node, dirty)
        for (tenant_no, customer_no), calls in dirty.items():
            self._settle(tenant_no, customer_no, calls)
        return True

    def _told_by_several(self, tenant_no: int, tree: Tree) -> bool:
        """Whether any call that changed in a tree is of a customer with several instrumentations."""
        found = False
        known: Identity | None = None
        customer_id = ""
        sources: frozenset[str] = _NONE
        for node in tree.changed.values():
            flags = node.flags
            role = flags & ROLE_MASK
            if role not in _CALLS and not flags & UNSEEN:  # `_is_call`, without calling it for every span
                continue
            identity = node.identity
            if identity is not known:
                known = identity
                customer_id = identity[0] or self._store.assignment(tenant_no, tree.trace_id)
                sources = self._sources.get((tenant_no, customer_id), _NONE)
            source = (node.span or tree.span(node)).source
            if source not in sources and customer_id and flags & ARRIVED:
                sources = self._with(tenant_no, customer_id, source)
            if flags & LISTED or len(sources) > 1:
                found = True
        return found

    def _list(self, tenant_no: int, tree: Tree, node: Node, dirty: dict[tuple[int, int], list[Call]]) -> None:
        """Bring the list of calls in line with a node."""
        customer_id = node.identity.customer_id or self._store.assignment(tenant_no, tree.trace_id)
        counts = customer_id != "" and len(self._sources_of(tenant_no, customer_id)) > 1 and _is_record(node)
        customer_no = self._store.interning.customer(tenant_no, customer_id) if counts else 0
        call = _call(tree, node)
        if node.flags & LISTED:
            listed_no = self._store.traces.stored_strand(node.strand_no)[0].customer_no
            if counts and listed_no == customer_no:
                if node.role == Role.TOOL and self._store.calls.retell(customer_no, call):
                    dirty[tenant_no, customer_no].append(call)
                return
            self._store.calls.remove(listed_no, call)
            dirty[tenant_no, listed_no].append(call)
            node.flags &= ~(LISTED | ECHO | TOLD)
        if counts:
            self._store.calls.put(customer_no, call)
            dirty[tenant_no, customer_no].append(call)
            node.flags |= LISTED

    def _with(self, tenant_no: int, customer_id: str, source: str) -> frozenset[str]:
        """The instrumentations that tell of a customer's calls, this one included from now on."""
        customer_no = self._store.interning.customer(tenant_no, customer_id)
        known = self._store.calls.sources(customer_no)
        if source not in known:
            self._store.calls.add_source(customer_no, source)
            if len(known) == 1:
                self._newly_several.append((tenant_no, customer_no))
            known |= {source}
        self._sources.put((tenant_no, customer_id), known)
        return known

    def _sources_of(self, tenant_no: int, customer_id: str) -> frozenset[str]:
        known = self._sources.get((tenant_no, customer_id))
        if known is None:
            known = self._store.calls.sources(self._store.interning.customer(tenant_no, customer_id))
        return known

    def _look_back(self, tenant_no: int, customer_no: int) -> None:
        """List the calls that the first instrumentation has told of; none of them is an echo yet."""
        for trace_id, span_id, event_no in self._store.events.latest_calls(
            customer_no, CALLS_LOOKED_BACK_MAX
        ):
            tree = self._tree_of(tenant_no, trace_id)
            node = tree.find(span_id)
            if node is None or node.flags & LISTED or not _is_call(node) or not _is_record(node):
                continue
            if node.event_no != event_no and not node.flags & STRUCK:
                continue
            if self._store.traces.stored_strand(node.strand_no)[0].customer_no != customer_no:
                continue
            self._store.calls.put(customer_no, _call(tree, node))
            node.flags |= LISTED
            tree.changed[span_id] = node

    def _settle(self, tenant_no: int, customer_no: int, dirty: list[Call]) -> None:
        """Decide anew on every call that those which came or went can have an effect on."""
        calls = self._around(customer_no, dirty)
        echoes = echoes_of(calls)
        for call, was_echo in calls.items():
            self._note(tenant_no, customer_no, call, was_echo, call in echoes)
        first_ns, last_ns = min(dirty).start_ns, max(dirty).start_ns
        agents = self._store.calls.agents(customer_no, first_ns - CALLS_WITHIN_NS, last_ns)
        for agent, was_echo in agents.items():
            self._note(tenant_no, customer_no, agent, was_echo, self._store.calls.is_told(customer_no, agent))
        self._weigh_tools(tenant_no, customer_no, [*dirty, *calls])

    def _weigh_tools(self, tenant_no: int, customer_no: int, near: list[Call]) -> None:
        """Decide anew whether the tokens are told elsewhere of tools that ran when these calls were made."""
        listed = self._store.calls
        first_ns = min(near).start_ns
        last_ns = max(call.end_ns if call.role == Role.TOOL else call.start_ns for call in near)
        for tool in listed.telling_tools(customer_no, first_ns, last_ns):
            run = customer_no, tool.start_ns, tool.end_ns
            told = is_told(tool, listed.models(*run), listed.telling_tools(*run))
            tree = self._tree_of(tenant_no, tool.trace_id)
            node = tree.find(tool.span_id)
            assert node is not None, "a listed call has its span"
            if told is not bool(node.flags & TOLD):
                node.flags ^= TOLD
                tree.changed[tool.span_id] = node

    def _note(self, tenant_no: int, customer_no: int, call: Call, was_echo: bool, is_echo: bool) -> None:
        if is_echo == was_echo:
            return
        self._store.calls.mark(customer_no, call, is_echo)
        tree = self._tree_of(tenant_no, call.trace_id)
        node = tree.find(call.span_id)
        assert node is not None, "a listed call has its span"
        node.flags = node.flags | ECHO if is_echo else node.flags & ~ECHO
        tree.changed[call.span_id] = node

    def _around(self, customer_no: int, dirty: list[Call]) -> dict[Call, bool]:
        """The listed calls that are the same as what came or went, and those the same as them, and so on."""
        listed: dict[Call, bool] = {}
        near = Neighbourhood()
        looked: list[tuple[int, int]] = []

        def look(first_ns: int, last_ns: int) -> None:
            first_ns, last_ns = first_ns - STARTS_APART_MAX_NS, last_ns + STARTS_APART_MAX_NS
            if any(first <= first_ns and last_ns <= last for first, last in looked):
                return
            looked.append((first_ns, last_ns))
            found = self._store.calls.started(customer_no, first_ns, last_ns, CALLS_COMPARED_MAX)
            for call, echo in found.items():
                if call not in listed:
                    listed[call] = echo
                    near.add(call)

        calls: dict[Call, bool] = {}
        pending = sorted(dirty)
        first = 0
        for place, call in enumerate(pending):  # one look for all that started within a stretch
            if (
                place + 1 == len(pending)
                or pending[place + 1].start_ns > pending[first].start_ns + STRETCH_MAX_NS
            ):
                look(pending[first].start_ns, call.start_ns)
                first = place + 1
        while pending and len(calls) < CALLS_COMPARED_MAX:
            call = pending.pop()
            look(call.start_ns, call.start_ns)
            if call in listed:
                calls[call] = listed[call]
            for other in near.near(call):
                if other not in calls:
                    calls[other] = listed[other]
                    pending.append(other)
        return calls


def _call(tree: Tree, node: Node) -> Call:
    """The call of a node, with the tokens that it has used inside as far as any span of it tells."""
    span = tree.span(node)
    if span.role == Role.TOOL and span.tokens is None and node.first_child:
        ask_inside(tree, node)
    call = call_of(span, node.fuller)
    return struck(call) if node.flags & STRUCK else call


def _is_call(node: Node) -> bool:
    """Whether a node is one that others may tell of too: a call, or an agent of whose calls it tells none."""
    flags = node.flags
    return flags & ARRIVED > 0 and (flags & ROLE_MASK in _CALLS or flags & UNSEEN > 0)


def _is_record(node: Node) -> bool:
    """Whether a call is the record among the spans of its trace, if it was taken back by hand, too."""
    return standing(node, ECHO | STRUCK) is Standing.RECORD
