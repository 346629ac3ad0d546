"""The thread that works upload jobs off, one at a time: read a stretch of rows, record it, note how far it is.

The rows of a stretch, the place behind it and the books of the job are one transaction, so that a job that was
killed goes on behind the last stretch that was committed. While one stretch is written, the next is read.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final

from aforo_collector.domain.submission import (
    DUPLICATE,
    RECORDED,
    Fate,
    RawEvent,
    Refusal,
    Submission,
)
from aforo_collector.domain.table import joined
from aforo_collector.domain.upload import PROCESSING, REVERTED, REVERTING, Job, Progress, RefusedRow
from aforo_collector.doors.uploads.packing import unpacked
from aforo_collector.doors.uploads.reading import header_of, read
from aforo_collector.doors.uploads.rows import Layout, Place, Rows, UnreadableFile
from aforo_collector.store.seen_keys import SeenKeys
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.upload_files import UploadFiles
from aforo_collector.store.upload_rows import UploadRows

from .writer import QueueFull, Writer

logger = logging.getLogger(__name__)

DOOR: Final = "upload"
STRETCH_ROWS: Final = 4_096
STRETCH_BLOCKS: Final = 16
RECALLED_AT_ONCE: Final = 500
KEY_LENGTH_MAX: Final = 255
RETRY_S: Final = 1.0

Stretch = list[Rows]


class _Stopped(Exception):
    """The collector is told to end; the job goes on with the next start."""


class UploadJobs:
    """Works off the jobs that wait, oldest first."""

    def __init__(
        self,
        database: Database,
        store: SqliteWriter,
        writer: Writer,
        files: UploadFiles,
        unpacked_bytes_max: int,
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._files = files
        self._unpacked_bytes_max = unpacked_bytes_max
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aforo-uploads", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._awake.set()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the stretch that it works on."""
        self._stopping.set()
        self._awake.set()
        self._thread.join()

    def wake(self) -> None:
        """Look for jobs: there is a new one."""
        self._awake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.wait()
            self._awake.clear()
            try:
                while not self._stopping.is_set() and (job := self._next()) is not None:
                    self._work(job)
            except _Stopped:
                return
            except (sqlite3.Error, OSError):  # a full disk, a lock: only waiting helps
                logger.exception("an upload waits: the store cannot be used; it goes on in %g s", RETRY_S)
                self._stopping.wait(RETRY_S)
                self._awake.set()

    def _next(self) -> Job | None:
        with self._database.reading() as connection:
            waiting = UploadRows(connection).waiting()
        return waiting[0] if waiting else None

    def _work(self, job: Job) -> None:
        try:
            if job.progress.reversal == REVERTING:
                self._revert(job)
            else:
                self._process(job)
                self._files.remove(job.upload.upload_id)
        except (_Stopped, sqlite3.Error, OSError):
            raise
        except Exception:
            logger.exception("upload %s failed", job.upload.upload_id)
            why = "the collector fails on these rows, its log says why; what was recorded before them stands"
            self._command(partial(self._fail, job.job_no, "INTERNAL_ERROR", why)).result()

    def _command(self, run: Callable[[int], Any]) -> Future[Any]:
        """Queue a transaction, waiting while the writer is behind."""
        while not self._stopping.is_set():
            try:
                return self._writer.command(run)
            except QueueFull:
                self._stopping.wait(RETRY_S)
        raise _Stopped

    def _process(self, job: Job) -> None:
        upload = job.upload
        layout = Layout(
            upload.origin, dict(upload.columns), upload.metric, upload.customer or upload.caller.customer_id
        )
        try:
            header = header_of(partial(self._bytes_of, job), upload.form, layout)
            job = self._command(partial(self._begin, job.job_no, header)).result()
            place = Place(job.progress.offset, job.progress.line)
            written: Future[Any] | None = None
            with SeenKeys() if upload.dry_run else nullcontext() as seen:
                for stretch in _stretches(read(partial(self._bytes_of, job), upload.form, layout, place)):
                    if written is not None:
                        written.result()
                    written = self._command(partial(self._take, job.job_no, stretch, seen))
                if written is not None:
                    written.result()
        except UnreadableFile as error:
            self._command(partial(self._fail, job.job_no, error.code, str(error))).result()
        else:
            self._command(partial(self._finish, job.job_no)).result()

    def _bytes_of(self, job: Job, offset: int) -> Iterator[bytes]:
        with self._files.open(job.upload.upload_id) as file:
            yield from unpacked(file, offset, self._unpacked_bytes_max)

    def _begin(self, job_no: int, header: bytes, now_ns: int) -> Job:
        """Note that a job is worked off. A dry run has recorded nothing and begins anew."""
        job = self._store.uploads.load(job_no)
        progress = job.progress
        if job.upload.dry_run:
            self._store.uploads.forget_refused(job_no)
            progress = Progress()
        started_ns = progress.started_ns or now_ns
        return self._store.uploads.save(
            job, replace(progress, state=PROCESSING, header=header, started_ns=started_ns)
        )

    def _take(self, job_no: int, stretch: Stretch, seen: SeenKeys | None, now_ns: int) -> None:
        """Record a stretch, or say what would become of it."""
        rows = self._store.uploads
        job = rows.load(job_no)
        upload, progress = job.upload, job.progress
        assert progress.offset <= stretch[0].before.offset, "a stretch is recorded once"
        events = joined([part.events for part in stretch])
        submission = Submission(
            upload.tenant_no, DOOR, events, upload.caller, upload.upload_id, upload.window_ns, keeps_refused=True
        )  # fmt: skip
        submissions = self._writer.intake.submissions
        after = stretch[-1].after
        if seen is not None:
            report = submissions.check(submission, now_ns, partial(_before, seen, upload.origin))
            progress = progress.after(report, *after)
        else:
            before_no = self._store.submitted.last_no()
            report = submissions.submit(submission, now_ns)
            progress = progress.after(report, *after)
            self._store.events.flush_rows()
            last_no, first_ns, last_ns = self._store.submitted.since(before_no)
            if last_no:
                progress = progress.during(first_ns, last_ns)
                rows.remember(job_no, before_no + 1, last_no)
        rows.keep_refused(job_no, _refused_rows(stretch, report.fates))
        rows.save(job, progress)

    def _finish(self, job_no: int, now_ns: int) -> None:
        job = self._store.uploads.load(job_no)
        self._store.uploads.save(job, job.progress.finished(now_ns))

    def _fail(self, job_no: int, code: str, why: str, now_ns: int) -> None:
        job = self._store.uploads.load(job_no)
        self._store.uploads.save(job, job.progress.failed(code, why, now_ns))

    def _revert(self, job: Job) -> None:
        while self._command(partial(self._take_back, job.job_no)).result():
            pass

    def _take_back(self, job_no: int, now_ns: int) -> bool:
        """Take back some more events of a job; whether there may be others.

        An event is found by its key: where it was booked anew meanwhile, that booking is what counts.
        """
        rows, bookings = self._store.uploads, self._writer.intake.bookings
        job = rows.load(job_no)
        tenant_no, progress = job.upload.tenant_no, job.progress
        found: list[tuple[int, str]] = []
        for first_no, last_no in rows.ranges(job_no, progress.recalled_no):
            found += self._store.submitted.keys_between(first_no, last_no, RECALLED_AT_ONCE - len(found))
            if len(found) == RECALLED_AT_ONCE:
                break
        if not found:
            self._store.let_go_of(job.upload.upload_id)
            rows.save(job, replace(progress, reversal=REVERTED))
            return False
        numbers = self._store.keys.find(tenant_no, [key for _, key in found])
        taken_back = sum(
            bool(event_no and bookings.take_back(tenant_no, bookings.recall(event_no), now_ns))
            for _, event_no in numbers.values()
        )
        progress = replace(progress, taken_back=progress.taken_back + taken_back, recalled_no=found[-1][0])
        rows.save(job, progress)
        return True


def _stretches(parts: Iterator[Rows]) -> Iterator[Stretch]:
    """What becomes one transaction each."""
    stretch: Stretch = []
    count = 0
    for part in parts:
        stretch.append(part)
        count += len(part.events)
        if count >= STRETCH_ROWS or len(stretch) >= STRETCH_BLOCKS:
            yield stretch
            stretch, count = [], 0
    if stretch:
        yield stretch


def _refused_rows(stretch: Stretch, fates: Sequence[Fate]) -> list[RefusedRow]:
    found: list[RefusedRow] = []
    start = 0
    for part in stretch:
        own = fates[start : start + len(part.events)]
        start += len(part.events)
        if all(fate.refusal is None for fate in own):
            continue
        for row, (line, raw, fate) in enumerate(zip(part.lines, part.raws(), own, strict=True)):
            if fate.refusal is not None and fate.verdict not in (RECORDED, DUPLICATE):
                code, detail, field = fate.refusal
                key = fate.key or _key_of(part.events[row])
                found.append(RefusedRow(line, code, detail, field, key, raw, part.is_cut))
    return found


def _key_of(event: RawEvent | Refusal) -> str:
    return "" if isinstance(event, Refusal) else str(event.get("idempotencyKey") or "")[:KEY_LENGTH_MAX]


def _before(seen: SeenKeys, derived: str, key: str, digest: bytes) -> bytes | None:
    """What came with a key earlier in the file of a dry run; a key that begins with `derived` comes once."""
    return None if key.startswith(derived) else seen.digest(key, digest)
