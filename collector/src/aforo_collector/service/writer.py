"""The one writer: a thread that turns everything that waits into one transaction, and answers after the commit."""

from __future__ import annotations

import decimal
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from aforo_collector.domain.money import CONTEXT
from aforo_collector.domain.session import NS_PER_S, Policy
from aforo_collector.domain.submission import IntakeReport, Submission
from aforo_collector.store.sqlite_writer import SqliteWriter

from .intake import Delivery, Intake, Receipt

logger = logging.getLogger(__name__)

QUEUE_LENGTH_MAX = 256
GROUP_LENGTH_MAX = 64
GROUP_SPANS_MAX = 8_192
SWEEP_INTERVAL_S = 1
ROOM_INTERVAL_S = 1


class QueueFull(Exception):
    """The writer is behind; nothing of the request was recorded, and it should be sent again shortly."""


class Stopped(QueueFull):
    """The writer writes no more; nothing was recorded, and it should be sent again to the next collector."""


@dataclass(slots=True)
class _Work:
    """What to do inside of the transaction: a delivery to take in, a command to run, a submission to record.

    A submission is only made here: the writer records it with all others that it can be recorded with.
    """

    take: Callable[[int], Any]
    spans: int = 0
    is_submission: bool = False
    undo: Callable[[], None] = lambda: None
    future: Future[Any] = field(default_factory=Future)


class Writer:
    """Runs deliveries and commands in arrival order; `clock_ns` is the collector's time.

    `chores` are done between them, each in a transaction of its own with the time in ns, and again at once
    while it returns True.
    """

    def __init__(
        self,
        store: SqliteWriter,
        intake: Intake,
        policy: Policy,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.intake = intake
        self._store = store
        self._policy = policy
        self.commits = 0
        self.chores: list[Callable[[int], bool]] = []
        self._clock_ns = clock_ns
        self._queue: queue.Queue[_Work | None] = queue.Queue(QUEUE_LENGTH_MAX)
        self._putting = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="aforo-writer", daemon=True)

    def start(self) -> None:
        """Start the thread; sessions whose time ran out while the process was down are closed first."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued and end the thread; whoever comes later is told, and waits for no answer."""
        with self._putting:
            self._stopped = True
            self._queue.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many pieces of work are queued."""
        return self._queue.qsize()

    def deliver(self, make: Callable[[int], Delivery], spans: int = 512) -> Future[Receipt]:
        """Queue a delivery; `make` is called on the writer thread with the time in ns. Raises `QueueFull`."""

        def take(now_ns: int) -> Receipt | ValueError:
            try:
                delivery = make(now_ns)
            except ValueError as error:  # nothing is written yet: a malformed body costs the others nothing
                return error
            return self.intake.take(delivery, now_ns)

        return self._put(_Work(take, spans))

    def submit(self, make: Callable[[], Submission], events: int) -> Future[IntakeReport]:
        """Queue a submission of about so many events; `make` is called on the writer thread.

        Raises `QueueFull`.
        """

        def take(_: int) -> Submission | ValueError:
            try:
                return make()
            except ValueError as error:  # as above
                return error

        return self._put(_Work(take, max(1, events), is_submission=True))

    def join(self, run: Callable[[int], Any], events: int) -> Future[Any]:
        """Queue `run(now_ns)`, which submits about so many events, in a transaction that others share.

        What it has written is undone with theirs and tried again alone. Raises `QueueFull`.
        """
        return self._put(_Work(run, max(1, events)))

    def command(self, run: Callable[[int], Any], undo: Callable[[], None] = lambda: None) -> Future[Any]:
        """Queue `run(now_ns)` as a transaction of its own, after everything queued before it.

        If it is rolled back, `undo` takes back what `run` changed in memory, before anything else is written.
        """
        return self._put(_Work(run, undo=undo))

    def run(self, run: Callable[[int], Any]) -> Any:
        """As `command`, for work that nobody would ask for again: waits for room, and for the commit.

        Raises `Stopped`, and whatever `run` raises.
        """
        while True:
            try:
                future = self.command(run)
            except Stopped:
                raise
            except QueueFull:
                time.sleep(ROOM_INTERVAL_S)
            else:
                return future.result()

    def probe(self) -> Future[None]:
        """Queue a transaction that changes nothing and writes all the same: done, the way to the disk works."""
        return self.command(lambda _: self._store.rewrite())

    def _put(self, work: _Work) -> Future[Any]:
        with self._putting:
            if self._stopped:
                raise Stopped("the collector is stopping")
            try:
                self._queue.put_nowait(work)
            except queue.Full:
                raise QueueFull(f"{QUEUE_LENGTH_MAX} requests are waiting to be written") from None
        return work.future

    def _run(self) -> None:
        decimal.setcontext(CONTEXT.copy())
        swept = 0
        running = True
        while running:
            if time.monotonic_ns() - swept >= SWEEP_INTERVAL_S * NS_PER_S:
                self._sweep()
                swept = time.monotonic_ns()
            try:
                first = self._queue.get(timeout=SWEEP_INTERVAL_S)
            except queue.Empty:
                continue
            group, then, running = self._group(first)
            if group:
                self._commit(group)
            if then is not None:
                self._commit([then])

    def _group(self, first: _Work | None) -> tuple[list[_Work], _Work | None, bool]:
        """Deliveries that wait, up to the bounds; then a command if one comes next; whether to go on."""
        group: list[_Work] = []
        spans = 0
        work = first
        while True:
            if work is None:
                return group, None, False
            if not work.spans:
                return group, work, True
            group.append(work)
            spans += work.spans
            if len(group) >= GROUP_LENGTH_MAX or spans >= GROUP_SPANS_MAX:
                return group, None, True
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return group, None, True

    def _commit(self, group: list[_Work]) -> None:
        """One transaction for the group; if it fails, each piece alone, so that only the bad one does."""
        group = [work for work in group if work.future.set_running_or_notify_cancel()]
        if not group:
            return
        try:
            results = self._transaction(group)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is an answer, and the writer lives on
            if len(group) > 1:
                for work in group:
                    self._alone(work)
            else:
                self._fail(group[0], error)
            return
        for work, result in zip(group, results, strict=True):
            self._answer(work, result)

    def _alone(self, work: _Work) -> None:
        try:
            result = self._transaction([work])[0]
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer to this work alone
            self._fail(work, error)
        else:
            self._answer(work, result)

    def _answer(self, work: _Work, result: object) -> None:
        if isinstance(result, Exception):
            work.future.set_exception(result)
        else:
            work.future.set_result(result)

    def _fail(self, work: _Work, error: Exception) -> None:
        if not isinstance(error, ValueError | LookupError):
            logger.error("a transaction failed and was rolled back", exc_info=error)
        work.future.set_exception(error)

    def _transaction(self, group: list[_Work]) -> list[Any]:
        now_ns = self._clock_ns()
        try:
            self._store.begin()
            results = [work.take(now_ns) for work in group]
            self._record(group, results, now_ns)
            self.intake.finish(now_ns)
            self._store.commit(self._policy)
            self.commits += 1
        except BaseException:
            self.intake.forget()
            self._store.rollback()
            for work in group:
                work.undo()
            raise
        return results

    def _record(self, group: list[_Work], results: list[Any], now_ns: int) -> None:
        """Record the submissions of a group, and put what became of each in its place."""
        alike: dict[Submission, list[int]] = {}
        for place, (work, made) in enumerate(zip(group, results, strict=True)):
            if work.is_submission and isinstance(made, Submission):
                alike.setdefault(made._replace(events=()), []).append(place)
        for places in alike.values():
            reports = self.intake.submissions.submit_all([results[place] for place in places], now_ns)
            for place, report in zip(places, reports, strict=True):
                results[place] = report

    def _sweep(self) -> None:
        """Close the sessions whose time is over."""
        try:
            while self._transaction([_Work(self.intake.finals.close_due)])[0]:
                pass
            for chore in self.chores:
                while self._transaction([_Work(chore)])[0]:
                    pass
        except Exception:
            logger.exception(
                "closing sessions or a chore failed; it is tried again in %d s", SWEEP_INTERVAL_S
            )
