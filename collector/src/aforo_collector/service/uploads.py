"""Uploaded files: received, queued as jobs, reported on, taken back. What works the jobs off is `upload_jobs`."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple

from aforo_collector.domain.upload import REVERTING, Job, RefusedRow, Upload
from aforo_collector.doors.uploads.packing import is_packed, unpacked
from aforo_collector.doors.uploads.reading import form_of
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.upload_files import IncomingFile, UploadFiles
from aforo_collector.store.upload_rows import UploadRows

from .queries import InvalidQuery, check_limit, cursor_of, parts_of
from .upload_jobs import UploadJobs
from .writer import Writer

_NUMBER_MAX = 2**63 - 1
_HEAD_BYTES = 4_096


class JobNotOver(Exception):
    """A job that cannot be taken back while its rows are worked off. Nothing was changed."""


class PartlyTakenBack(ValueError):
    """A file of which one upload was taken back and another one stands: its rows would count twice."""


class Examined(NamedTuple):
    """What a received file is: its form, and the SHA-256 in hex and size of what it unpacks to."""

    form: str
    digest: str
    unpacked_bytes: int


class Uploads:
    """The use cases of uploads; each for one tenant."""

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
        self._jobs = UploadJobs(database, store, writer, files, unpacked_bytes_max)

    def start(self) -> None:
        """Go on where the last run ended; what a crash left behind is removed."""
        with self._database.reading() as connection:
            waiting = UploadRows(connection).waiting()
        self._files.keep_only({job.upload.upload_id for job in waiting})
        self._jobs.start()

    def stop(self) -> None:
        """End after the rows that are being recorded."""
        self._jobs.stop()

    def receive(self) -> tuple[str, IncomingFile]:
        """The id of a new upload, and the file to write into; blocks."""
        upload_id = f"upl_{secrets.token_hex(10)}"
        return upload_id, self._files.receive(upload_id)

    def examine(self, incoming: IncomingFile, file_name: str) -> Examined:
        """See what a received file is, and that it unpacks as a whole; blocks. Raises `UnreadableFile`."""
        incoming.sync()
        with incoming.path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if not is_packed(head):
                return Examined(form_of(file_name, head), incoming.digest, incoming.size_bytes)
            file.seek(0)
            return self._examine_packed(file, file_name)

    def _examine_packed(self, file: BinaryIO, file_name: str) -> Examined:
        digest, size, head = hashlib.sha256(), 0, b""
        for block in unpacked(file, 0, self._unpacked_bytes_max):
            digest.update(block)
            size += len(block)
            head = head if len(head) >= _HEAD_BYTES else head + block[:_HEAD_BYTES]
        return Examined(form_of(file_name, head), digest.hexdigest(), size)

    def queue(self, upload: Upload, incoming: IncomingFile) -> tuple[Job, bool]:
        """Queue a received file; blocks until that is on disk. The job, and whether it was there before.

        The same file, read the same way, is one job, unless that one failed or was taken back. Raises
        `PartlyTakenBack`.
        """
        incoming.keep()

        def put(_: int) -> tuple[Job, bool]:
            rows = self._store.uploads
            before = rows.of_file(upload)
            wanted = replace(upload, generation=sum(bool(job.progress.reversal) for job in before))
            _check_taken_back(before, wanted.generation)
            if not upload.dry_run and (job := rows.same(wanted)) is not None:
                return job, True
            return rows.put(wanted), False

        try:
            job, repeated = self._writer.command(put).result()
        except BaseException:
            self._files.remove(upload.upload_id)
            raise
        if repeated:
            self._files.remove(upload.upload_id)
        self._jobs.wake()
        return job, repeated

    def find(self, tenant_no: int, upload_id: str) -> Job | None:
        """A job by its id."""
        with self._database.reading() as connection:
            return UploadRows(connection).find(tenant_no, upload_id)

    def latest(
        self, tenant_no: int, customer_id: str | None, cursor: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """A page of jobs, newest first, and where the next one starts; raises `InvalidQuery`."""
        check_limit(limit)
        before_no = parts_of(cursor, 1)[0][0] if cursor else _NUMBER_MAX
        with self._database.reading() as connection:
            jobs = UploadRows(connection).latest(tenant_no, customer_id, before_no, limit + 1)
        return jobs[:limit], cursor_of(jobs[limit - 1].job_no) if len(jobs) > limit else None

    def refused(self, job: Job, cursor: str | None, limit: int) -> tuple[list[RefusedRow], str | None]:
        """A page of the rows that a job refused, by line, and where the next one starts; raises `InvalidQuery`."""
        check_limit(limit)
        line = parts_of(cursor, 1)[0][0] if cursor else 0
        if line < 0:
            raise InvalidQuery("cursor", "is not one that this list gave; start without a cursor")
        rows: list[RefusedRow] = []
        for found in self._refused(job, line):
            rows += found
            if len(rows) > limit:
                break
        return rows[:limit], cursor_of(rows[limit - 1].line) if len(rows) > limit else None

    def refused_file(self, job: Job) -> Iterator[bytes]:
        """The refused rows as a file in the form of the one they came in, byte for byte.

        A row that is too long is not among them: only its beginning was kept.
        """
        yield job.progress.header
        for rows in self._refused(job, 0):
            yield b"".join(row.raw + b"\n" for row in rows if not row.is_cut)

    def _refused(self, job: Job, line: int) -> Iterator[list[RefusedRow]]:
        """Piece by piece, each read at a moment of its own, so that a slow reader holds up nothing."""
        while True:
            with self._database.reading() as connection:
                rows = UploadRows(connection).refused(job.job_no, line)
            if not rows:
                return
            yield rows
            line = rows[-1].line

    def revert(self, tenant_no: int, upload_id: str) -> Job | None:
        """Have every event of a job taken back; blocks until that is noted. None when there is no such job.

        Raises `JobNotOver`. Doing it twice changes nothing.
        """

        def note(_: int) -> Job | None:
            rows = self._store.uploads
            job = rows.find(tenant_no, upload_id)
            if job is None or job.progress.reversal:
                return job
            if not job.progress.is_over:
                raise JobNotOver(
                    f"upload {upload_id} is {job.progress.state}; nothing was changed, wait for its end"
                )
            return rows.save(job, replace(job.progress, reversal=REVERTING))

        job: Job | None = self._writer.command(note).result()
        self._jobs.wake()
        return job


def _check_taken_back(jobs: list[Job], generation: int) -> None:
    """Rows that are uploaded anew have new keys, so none of them may stand under an old one."""
    for job in jobs:
        if not job.progress.reversal and job.upload.generation < generation:
            raise PartlyTakenBack(
                f"upload {job.upload.upload_id} of this file was not taken back as another one was, and its rows"
                " would count twice; nothing was recorded, revert it, then send the file again"
            )
