"""The table of open runs: what the process has started and not yet seen end.

One table per process, keyed by LangChain's run ids, so that a run which several handlers see is metered once.
It holds no lock: every step is one dict operation, and callbacks come from any thread, or out of the garbage
collector in the midst of another callback.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final, Optional, TypeAlias

from aforo_sdk.plugin import Inside, Opening, new_span_id
from langchain_core.runnables.config import var_child_runnable_config

from aforo_langchain.scopes import Scope

OPEN_MAX: Final = 100_000
CLOSED_EARLY_MAX: Final = 4_096
IDLE_MAX_S: Final = 3_600
SWEEP_EVERY_S: Final = 60

RunKey: TypeAlias = Hashable
"""A run's id as a number: Python hashes a UUID object at several times the cost, six times a run."""


def key_of(run_id: object) -> RunKey:
    """Return the key of a run id; one that is no UUID stands for itself."""
    return getattr(run_id, "int", run_id)


@dataclass(slots=True, eq=False)  # not frozen: that would triple the cost of the one object a run makes
class OpenRun:
    """A run that has started. Never changed, but for the runs that come and go in `children`.

    `attributes` are the encoded ones that are its own; `in_agent_loop` says that a model called right here is
    the agent thinking, not one of its tools; `batch` is one object for all the prompts of one `generate()`,
    None outside of it. `around` is what of ours it began in; `inside` is where its code runs, once somebody
    has asked.
    """

    key: RunKey
    parent: Optional["OpenRun"]
    children: dict[RunKey, "OpenRun"]
    scope: Scope
    opening: Opening
    span_id: int
    parent_span_id: int
    start_ns: int
    attributes: bytes
    in_agent_loop: bool
    batch: object
    around: Inside
    inside: Inside | None = None


class RunTable:
    """Open runs by run id (`open`), bounded in number and in how long (seconds) a tree may see no new run."""

    def __init__(self, open_max: int = OPEN_MAX, idle_max_s: int = IDLE_MAX_S) -> None:
        self.open: dict[RunKey, OpenRun] = {}
        self._closed_early: dict[RunKey, OpenRun] = {}
        self._open_max = open_max
        self._idle_max_ns = idle_max_s * 1_000_000_000
        self._next_sweep_ns = 0

    def __len__(self) -> int:
        return len(self.open)

    def parent_of(self, parent_run_id: object) -> OpenRun | None:
        """The open run that a new one belongs under.

        Some runnables start their inner run without the parent's id (`with_fallbacks`, given an explicit list
        of callbacks): then the parent is the run that encloses the caller in LangChain's own context.
        """
        parent = self.open.get(getattr(parent_run_id, "int", parent_run_id))  # `key_of`, without a call
        if parent is None and self.open:
            parent = self.enclosing()
        return parent

    def enclosing(self) -> OpenRun | None:
        """The open run whose code is running, by LangChain's own context."""
        config = var_child_runnable_config.get() or {}
        return self.open.get(key_of(getattr(config.get("callbacks"), "parent_run_id", None)))

    def add(self, run: OpenRun) -> None:
        """Enter a run that has started."""
        self.open[run.key] = run
        run.scope.tree.last_start_ns = run.start_ns
        if run.parent is not None:
            run.parent.children[run.key] = run

    def take(self, key: RunKey) -> OpenRun | None:
        """Remove and return a run that ends; None if it is not open: never seen, or ended before (the first
        wins).
        """
        run = self.open.pop(key, None)
        if run is not None and run.parent is not None:
            run.parent.children.pop(key, None)
        return run

    def take_late(self, key: RunKey) -> OpenRun | None:
        """Return a call that was closed early and has ended after all, as a run inside the one already
        written.

        So its tokens are not lost, and count once: they stand on a leaf below a span that has none.
        """
        run = self._closed_early.pop(key, None)
        return run and replace(run, span_id=new_span_id(), parent_span_id=run.span_id)

    def take_inside(self, run: OpenRun) -> list[OpenRun]:
        """Remove and return all that is still open inside `run`, innermost first: nobody will end it."""
        inside = list(run.children.values())
        for inner in inside:
            inside.extend(inner.children.values())
        return [inner for inner in reversed(inside) if self._take_early(inner)]

    def take_batch(self, run: OpenRun) -> list[OpenRun]:
        """Remove and return the open runs that one `generate()` started together with `run`."""
        if run.batch is None:
            return []
        near = run.parent.children if run.parent is not None else self.open
        return [
            other for other in list(near.values()) if other.batch is run.batch and self._take_early(other)
        ]

    def take_left_open(self, now_ns: int) -> list[OpenRun]:
        """Remove and return what nobody will end: trees idle for too long, and the oldest runs over the
        bound.

        Costs nothing unless a sweep is due or the table is over its bound.
        """
        taken: list[OpenRun] = []
        if now_ns >= self._next_sweep_ns:
            self._next_sweep_ns = now_ns + SWEEP_EVERY_S * 1_000_000_000
            for run in list(self.open.values()):
                if run.parent is None and now_ns - run.scope.tree.last_start_ns > self._idle_max_ns:
                    taken += [*self.take_inside(run), run] if self._take_early(run) else []
        while len(self.open) > self._open_max:
            run = next(iter(self.open.values()))
            taken += [*self.take_inside(run), run] if self._take_early(run) else []
        return taken

    def take_all(self) -> list[OpenRun]:
        """Remove and return every open run, innermost first."""
        return [run for run in reversed(list(self.open.values())) if self.take(run.key) is not None]

    def clear(self) -> None:
        """Forget everything. For a forked child: the runs are the parent process's to end."""
        self.open.clear()
        self._closed_early.clear()

    def _take_early(self, run: OpenRun) -> bool:
        """Remove a run whose own end may yet come; False if it ended in the meantime."""
        if self.take(run.key) is None:
            return False
        if run.opening.is_step:
            self._closed_early[run.key] = run
            if len(self._closed_early) > CLOSED_EARLY_MAX:
                self._closed_early.pop(next(iter(self._closed_early)), None)
        return True


RUNS: Final = RunTable()
