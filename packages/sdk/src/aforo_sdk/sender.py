"""The background thread that brings the spool to the collector.

It sends when `WAKE_AT_SPANS` wait or `LINGER_S` after the first, in the order of writing, and empties the
spool only of what was acknowledged. When the collector is away it tries again with growing, jittered pauses
and resumes by itself. Between its own segments it delivers those of dead processes with the same collector
and key. The user's threads never wait for it, except in `wait`, which has a deadline that no request can
move.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from opentelemetry import context
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY

from aforo_sdk import counts, ids, notices, segments
from aforo_sdk.delivery import Delivery
from aforo_sdk.notices import count, warn_once
from aforo_sdk.segments import Reader
from aforo_sdk.settings import Destination
from aforo_sdk.spool import WAKE_AT_SPANS, Spool, Stretch
from aforo_sdk.transport import Answer, Transport, Verdict

LINGER_S: Final = 0.5
SYNC_S: Final = 1.0
SCAN_S: Final = 5.0
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_S_MAX: Final = 30.0


class Sender:
    """Delivers one spool to one destination, from a daemon thread that `start` starts.

    `failures` counts attempts that did not get through, `scans` completed searches for orphans, `set_aside`
    spans of this process that the collector refused for good.
    """

    def __init__(self, folder: Path, destination: Destination, header: bytes, size_bytes_max: int) -> None:
        self.spool = Spool(folder, destination.fingerprint, header, size_bytes_max, self.wake)
        self.destination = destination
        self.failures = 0
        self.scans = 0
        self.set_aside = 0
        self.retired = False
        self._queue: SimpleQueue[None] = SimpleQueue()
        self._settled = threading.Condition()
        self._hurried = False
        self._delivery = Delivery(Transport(destination))
        self._reader: Reader | None = None
        self._generation = -1
        self._offset = 0
        self._attempt = 0
        self._scan_at = 0.0
        self._sync_at = 0.0
        self._published: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="aforo-sender", daemon=True)

    # -- called from the user's threads ----------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Raises RuntimeError when the interpreter is shutting down."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread to look at the spool. Never blocks; safe from signal handlers."""
        self._queue.put(None)

    def hurry(self) -> None:
        """Have everything sent now, orphans included, without lingering and without waiting for the end of
        a pause.
        """
        self._hurried = True
        self._scan_at = 0.0
        self._queue.put(None)

    def retire(self) -> None:
        """End the thread once everything is delivered."""
        self.retired = True
        self._queue.put(None)

    @property
    def finished(self) -> bool:
        """Whether this sender has delivered everything and ended."""
        return self.retired and not self._thread.is_alive() and self.spool.oldest() is None

    def wait(self, done: Callable[[], bool], deadline: float, failures_max: int | None = None) -> bool:
        """Wait until `done()`: at most until `deadline` (monotonic seconds), and only while the thread
        lives and no more than `failures_max` attempts failed (None = any number). The answer of `done()`.
        """
        if not self._settled.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return done()
        try:
            while not done():
                left_s = deadline - time.monotonic()
                hopeless = failures_max is not None and self.failures > failures_max
                if left_s <= 0 or hopeless or not self._thread.is_alive():
                    return False
                self._settled.wait(left_s)
            return True
        finally:
            self._settled.release()

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # An application that instruments `requests` must not see our own requests as its work.
        quiet = context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True)
        context.attach(context.set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, quiet))
        while not (self.retired and self.spool.oldest() is None):
            try:
                self._round()
            except Exception as error:
                # Whatever it is, the spans are in the spool; the thread must live to deliver them.
                count("sender_errors")
                warn_once(
                    "sender", f"aforo: the sender stumbled ({type(error).__name__}: {error}) and goes on."
                )
                self._fail(None)
        self._delivery.transport.close()
        self._close_reader()
        self.spool.close()

    def _round(self) -> None:
        """Wait for work, deliver what there is, and pause when that failed."""
        self._linger()
        self._hurried = False
        self.spool.speak()
        self._publish()
        if self._send_own() and self._send_orphans():
            self._attempt = 0
            return
        self._fail(self._delivery.failure)

    def _publish(self) -> None:
        """Leave the counters of this process where `aforo doctor` finds them."""
        counters = notices.counters()
        if counters != self._published and self.spool.writer:
            counts.publish(self.spool.folder, self.spool.writer, counters)
            self._published = counters

    def _linger(self) -> None:
        """Block until spans wait (then up to LINGER_S more, so that they travel together) or a scan is due.

        After a failure there is nothing to wait for: the pause is over and the backlog is still there.
        """
        if self._attempt:
            return
        while (
            not self.spool.waiting and not self._urgent and (idle_s := self._scan_at - time.monotonic()) > 0
        ):
            self._doze(idle_s)
        until = time.monotonic() + LINGER_S
        while 0 < self.spool.waiting < WAKE_AT_SPANS and not self._urgent:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            self._doze(left_s)

    @property
    def _urgent(self) -> bool:
        return self._hurried or self.retired

    def _doze(self, seconds: float) -> None:
        """Sleep until woken, at most this long."""
        with suppress(Empty):
            self._queue.get(timeout=seconds)

    def _send_own(self) -> bool:
        """Deliver what this process wrote, oldest first. False when an attempt failed.

        A few spans that were written meanwhile are left to travel with those that come after them.
        """
        while (stretch := self.spool.oldest()) is not None:
            self._sync()
            if not self._send_stretch(stretch):
                return False
            if stretch.stop is not None and self.spool.waiting < WAKE_AT_SPANS and not self._urgent:
                break
        return True

    def _send_stretch(self, stretch: Stretch) -> bool:
        reader = self._open(stretch)
        if reader is None:
            # Adopted by another process after our descriptor was closed under us, or removed by somebody.
            count("segments_gone")
            warn_once(
                "segment gone", f"aforo: {stretch.path} is gone: another process delivered or removed it."
            )
            self.spool.drop(stretch.generation)
            self._tell()
            return True
        stop = reader.size_bytes if stretch.stop is None else stretch.stop
        refused_before = self._delivery.set_aside
        done = self._delivery.send(reader, self._offset, stop, lambda offset: self._advance(stretch, offset))
        self.set_aside += self._delivery.set_aside - refused_before
        if done and self._offset >= stop:
            self._settle(stretch.generation, stop)  # for a segment with nothing left to send
        return done

    def _open(self, stretch: Stretch) -> Reader | None:
        """The reader of a stretch, kept open between rounds; None when its file is gone."""
        if self._generation != stretch.generation:
            if self._reader is None or self._reader.path != stretch.path:
                self._close_reader()
                try:
                    self._reader = Reader(stretch.path)
                except FileNotFoundError:
                    return None
            self._generation, self._offset = stretch.generation, self._reader.first
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _advance(self, stretch: Stretch, offset: int) -> None:
        self._offset = offset
        self._settle(stretch.generation, offset)

    def _settle(self, generation: int, offset: int) -> None:
        self.spool.acknowledge(generation, offset)
        self._tell()

    def _tell(self) -> None:
        """Have those who wait look again."""
        with self._settled:
            self._settled.notify_all()

    def _send_orphans(self) -> bool:
        """Deliver what dead processes left, one segment at a time so that our own spans never wait long."""
        if time.monotonic() < self._scan_at:
            return True
        folder = self.spool.folder
        for found in segments.listing(folder).values():
            if found[0].fingerprint != self.spool.fingerprint:
                continue
            with segments.adopted(found) as orphans:
                if orphans:
                    if not self._send_orphan(orphans[0]):
                        return False
                    if len(orphans) > 1 or self.spool.waiting:
                        return True
        segments.clear_unfinished(folder, time.time())
        self.spool.measure()
        self._scan_at = time.monotonic() + SCAN_S
        self.scans += 1
        self._tell()
        return True

    def _send_orphan(self, orphan: segments.SegmentFile) -> bool:
        with Reader(orphan.path) as reader:
            done = self._delivery.send(reader, reader.first, reader.size_bytes, lambda _: None)
        if done:
            orphan.path.unlink()
        return done

    def _sync(self) -> None:
        """Fsync at most once a second while anything waits: what is delivered within that time needs none."""
        now = time.monotonic()
        if now >= self._sync_at:
            if self._sync_at:
                self.spool.sync()
            self._sync_at = now + SYNC_S

    def _fail(self, answer: Answer | None) -> None:
        """Count a failed attempt, tell those who wait, and pause as long as the answer or the backoff
        says.
        """
        self.failures += 1
        self._tell()
        until = time.monotonic() + self._pause_s(answer)
        while (left_s := until - time.monotonic()) > 0 and not self._hurried:
            self._sync()
            self._doze(min(left_s, SYNC_S))

    def _pause_s(self, answer: Answer | None) -> float:
        """How long to wait: what the answer asks for, else a random part of a ceiling that doubles."""
        ceiling_s = min(BACKOFF_S_MAX, BACKOFF_FIRST_S * float(1 << min(self._attempt, 16)))
        self._attempt += 1
        if answer is not None and answer.verdict is Verdict.MISDIRECTED:
            warn_once(
                f"misdirected {self.destination.fingerprint}",
                f"aforo: {self.destination.traces_url} does not take our spans ({answer.reason}). They are "
                f"kept in {self.spool.folder} and tried again; check endpoint and API key: `aforo doctor`.",
            )
            return BACKOFF_S_MAX * (0.5 + ids.fraction() / 2)
        if answer is not None and answer.retry_after_s is not None:
            return answer.retry_after_s + ids.fraction() * min(1.0, answer.retry_after_s / 10)
        return ceiling_s * ids.fraction()
