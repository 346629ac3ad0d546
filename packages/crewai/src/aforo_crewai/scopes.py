"""The table of open scopes: what CrewAI has said it started and not yet said it ended.

CrewAI keeps a stack of scopes per context and writes the top of it on every event. A scope that is left by an
exception may stay on that stack, or be taken off by the end of another. So an end finds its scope by what
ended, not only by the id the stack had; what begins below a scope that has ended belongs to the nearest one
around it that is still open, and what begins below nothing, in the context of a run that goes on, to its
root.

It holds no lock: every step is one dict operation, and events come from any thread.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, Optional

from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside, Opening, new_span_id

from aforo_crewai.mapping import Asked

OPEN_MAX: Final = 100_000
CLOSED_MAX: Final = 4_096
IDLE_MAX_S: Final = 3_600
SWEEP_EVERY_S: Final = 60


class Tree:
    """What all scopes under one root share: trace, the span above the root (0: none), payer, also encoded
    (`identity`), step counter, the root itself, what is open, the time of the last start (unix ns), and what of
    ours the root began in: by our own context (`outside`), and as near as anybody knows (`around`).

    A run that began out of our sight is not `whole` and has no root: several scopes may stand side by side.
    """

    __slots__ = (
        "above", "around", "identity", "last_start_ns", "open", "outside", "payer", "root", "steps", "trace_id",
        "whole",
    )  # fmt: skip

    def __init__(self, trace_id: int, above: int, payer: Identity, around: Inside) -> None:
        self.trace_id = trace_id
        self.above = above
        self.payer = payer
        self.identity = payer.attributes
        self.outside = plugin.here.get()
        self.around = around
        self.root: Scope | None = None
        self.whole = True
        self.steps = count()
        self.open: dict[str, Scope] = {}
        self.last_start_ns = 0

    def place(self) -> Inside:
        """What of ours a scope of this tree begins in that starts now."""
        place = plugin.here.get()
        return self.around if place is self.outside else place


@dataclass(slots=True, eq=False)
class Loop:
    """The loop of one agent: whether it has tools, the tool calls its model has asked for so far, and the call of
    the model that has been `answered` last, if its end has yet to be told.
    """

    has_tools: bool
    asked: list[Asked] = field(default_factory=list)
    answered: Optional["Scope"] = None


@dataclass(slots=True, eq=False)
class Scope:
    """A scope that has started.

    `key` is the id of its first event, `kind` that event's type without its last word, `source_id` who
    emitted it; `opening` is None for one that has no span, whose `span_id` is that of the scope around it.
    `inherited` stands on everything inside (payer, agent), `attributes` are its own. `loop` is set for an
    agent and what belongs to its loop.

    What is learned on the way: `call_id` of a model call, `offered` that it was told of tools, `began` that
    its answer has begun; `failure` of a tool that says it ended well, `cached` that it did not run;
    `called_ns` and `called` for a model call that was announced by a hook and by no event (0: none); `used` and
    `answered_ns` for one whose answer has come, and whose own end may not (0: none). `around` is what of ours it
    began in, `inside` is where its code runs, once somebody has asked.
    """

    key: str
    kind: str
    source_id: int
    parent: Optional["Scope"]
    tree: Tree
    opening: Opening | None
    span_id: int
    parent_span_id: int
    start_ns: int
    inherited: bytes
    attributes: bytes = b""
    loop: Loop | None = None
    call_id: str = ""
    offered: bool = False
    began: bool = False
    failure: str = ""
    cached: bool = False
    called: object = None
    called_ns: int = 0
    used: object = None
    answered_ns: int = 0
    around: Inside | None = None
    inside: Inside | None = None


class ScopeTable:
    """Open scopes by the id of their first event, bounded in number and in how long a tree may see nothing
    new.
    """

    def __init__(self, open_max: int = OPEN_MAX, idle_max_s: int = IDLE_MAX_S) -> None:
        self.open: dict[str, Scope] = {}
        self._calls: dict[str, Scope] = {}
        self._closed: OrderedDict[str, Scope] = OrderedDict()
        self._closed_early: OrderedDict[str, Scope] = OrderedDict()
        self._unseen: OrderedDict[str, Tree] = OrderedDict()
        self._open_max = open_max
        self._idle_max_ns = idle_max_s * 1_000_000_000
        self._next_sweep_ns = 0

    def __len__(self) -> int:
        return len(self.open)

    def around(self, parent_event_id: str | None) -> Scope | None:
        """The innermost open scope that the stack names or named; None if there is none."""
        if parent_event_id is None:
            return None
        scope = self.open.get(parent_event_id)
        if scope is None:
            scope = self._closed.get(parent_event_id)
            while scope is not None and scope.key not in self.open:
                scope = scope.parent
        return scope

    def root_of(self, tree: Tree | None) -> Scope | None:
        """The root of a tree, as long as it is open."""
        root = tree.root if tree is not None else None
        return root if root is not None and root.key in self.open else None

    def unseen(self, parent_event_id: str | None, tree: Tree) -> Tree | None:
        """The tree of a run whose start was never seen: metering began in its midst, or it goes on from a
        checkpoint. That is `tree` unless one for the same payer is known; None if this is no such run.
        """
        if parent_event_id is None or parent_event_id in self._closed:
            return None
        known = self._unseen.get(parent_event_id)
        if known is not None and known.identity == tree.identity:
            return known
        tree.whole = False
        self._unseen[parent_event_id] = tree
        _bound(self._unseen)
        return tree

    def add(self, scope: Scope) -> None:
        """Enter a scope that has started."""
        self.open[scope.key] = scope
        scope.tree.open[scope.key] = scope
        if scope.parent is None and scope.tree.whole:
            scope.tree.root = scope
        scope.tree.last_start_ns = scope.start_ns
        if scope.call_id:
            self._calls[scope.call_id] = scope

    def call(self, call_id: str) -> Scope | None:
        """The open model call of this id."""
        return self._calls.get(call_id)

    def ended(self, kind: str, started_event_id: str | None, source_id: int) -> Scope | None:
        """The open scope that an end belongs to: the one the stack had if it is of this kind and of this
        source, else the latest that is; None if it was never seen, or has ended before (the first wins).
        """
        named = self.open.get(started_event_id or "")
        if named is not None and named.kind == kind and named.source_id == source_id:
            return named
        for scope in reversed(list(self.open.values())):
            if scope.kind == kind and scope.source_id == source_id:
                return scope
        return named if named is not None and named.kind == kind else None

    def take(self, scope: Scope) -> bool:
        """Remove a scope that ends; False if it has been removed before."""
        if self.open.pop(scope.key, None) is None:
            return False
        scope.tree.open.pop(scope.key, None)
        if scope.call_id:
            self._calls.pop(scope.call_id, None)
        self._closed[scope.key] = scope
        _bound(self._closed)
        return True

    def take_late(self, key: str) -> Scope | None:
        """Return a call that was closed early and has ended after all, as one inside that already written.

        So its tokens are not lost, and count once: they stand on a leaf below a span that has none.
        """
        scope = self._closed_early.pop(key, None)
        return scope and replace(scope, span_id=new_span_id(), parent_span_id=scope.span_id)

    def take_rest(self, tree: Tree) -> list[Scope]:
        """Remove and return all that is still open in a tree, innermost first: nobody will end it."""
        return [scope for scope in reversed(list(tree.open.values())) if self._take_early(scope)]

    def take_left_open(self, now_ns: int) -> list[Scope]:
        """Remove and return trees that were idle for too long, and the oldest over the bound.

        Costs nothing unless a sweep is due or the table is over its bound.
        """
        taken: list[Scope] = []
        if now_ns >= self._next_sweep_ns:
            self._next_sweep_ns = now_ns + SWEEP_EVERY_S * 1_000_000_000
            for scope in list(self.open.values()):
                if now_ns - scope.tree.last_start_ns > self._idle_max_ns:
                    taken += self.take_rest(scope.tree)
        while len(self.open) > self._open_max:
            taken += self.take_rest(next(iter(self.open.values())).tree)
        return taken

    def take_all(self) -> list[Scope]:
        """Remove and return every open scope, innermost first."""
        return [scope for scope in reversed(list(self.open.values())) if self.take(scope)]

    def clear(self) -> None:
        """Forget everything. For a forked child: the scopes are the parent process's to end."""
        for table in (self.open, self._calls, self._closed, self._closed_early):
            table.clear()
        self._unseen.clear()

    def _take_early(self, scope: Scope) -> bool:
        """Remove a scope whose own end may yet come; False if it ended in the meantime."""
        if not self.take(scope):
            return False
        if scope.call_id:
            self._closed_early[scope.call_id] = scope
            _bound(self._closed_early)
        return True


def _bound(table: OrderedDict[str, Any]) -> None:
    """Keep a table to its size. A plain dict would look for its first entry among all that are gone."""
    if len(table) > CLOSED_MAX:
        table.popitem(last=False)


SCOPES: Final = ScopeTable()
