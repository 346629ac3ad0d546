"""Upload jobs in SQLite: what was asked, how far each is, the rows it refused, and where its events stand."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec
import zstandard

from aforo_collector.domain.upload import FAILED, Job, Progress, RefusedRow, Upload

_JOB: Final = "SELECT job_no, asked, progress FROM upload_jobs"
_encode: Final = msgspec.json.encode
_upload: Final = msgspec.json.Decoder(Upload).decode
_progress: Final = msgspec.json.Decoder(Progress).decode
_pack: Final = msgspec.msgpack.encode
_rows: Final = msgspec.msgpack.Decoder(list[RefusedRow]).decode


class UploadRows:
    """Reads and writes jobs on a connection: the writing one, or a reader's to read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def put(self, upload: Upload) -> Job:
        """A new job, QUEUED."""
        progress = Progress()
        row = self._db.execute(
            "INSERT INTO upload_jobs (upload_id, tenant_no, digest, wish, is_waiting, asked, progress)"
            " VALUES (?, ?, ?, ?, 1, ?, ?)",
            (
                upload.upload_id, upload.tenant_no, upload.digest, None if upload.dry_run else _wish(upload),
                _encode(upload), _encode(progress),
            ),
        )  # fmt: skip
        assert row.lastrowid is not None
        return Job(row.lastrowid, upload, progress)

    def save(self, job: Job, progress: Progress) -> Job:
        """Write down how far a job is. One that failed does not stand in the way of the same file."""
        self._db.execute(
            "UPDATE upload_jobs SET is_waiting = ?, reversal = ?, progress = ?,"
            " wish = CASE WHEN ? THEN NULL ELSE wish END WHERE job_no = ?",
            (
                progress.is_waiting, progress.reversal, _encode(progress), progress.state == FAILED, job.job_no,
            ),
        )  # fmt: skip
        return Job(job.job_no, job.upload, progress)

    def same(self, upload: Upload) -> Job | None:
        """The job that did or does what an upload asks for."""
        return self._one("WHERE tenant_no = ? AND wish = ?", upload.tenant_no, _wish(upload))

    def of_file(self, upload: Upload) -> list[Job]:
        """The jobs that have recorded or may yet record rows of a file for whoever uploads it."""
        jobs = self._many(
            "WHERE tenant_no = ? AND digest = ? ORDER BY job_no", upload.tenant_no, upload.digest
        )
        return [
            job
            for job in jobs
            if job.upload.caller.customer_id == upload.caller.customer_id
            and not job.upload.dry_run
            and (job.progress.recorded or not job.progress.is_over)
        ]

    def load(self, job_no: int) -> Job:
        """A job by its number."""
        job = self._one("WHERE job_no = ?", job_no)
        assert job is not None, "jobs are never removed"
        return job

    def find(self, tenant_no: int, upload_id: str) -> Job | None:
        """A job of a tenant by its id."""
        return self._one("WHERE tenant_no = ? AND upload_id = ?", tenant_no, upload_id)

    def waiting(self) -> list[Job]:
        """The jobs that have something to do, oldest first."""
        return self._many("WHERE is_waiting = 1 ORDER BY job_no")

    def latest(self, tenant_no: int, customer_id: str | None, before_no: int, count: int) -> list[Job]:
        """Jobs of a tenant, or those that came under a customer's credential, below a number, newest first."""
        return self._many(
            "WHERE tenant_no = ? AND job_no < ? AND coalesce(json_extract(CAST(asked AS TEXT), '$.caller[0]') = ?, 1)"
            " ORDER BY job_no DESC LIMIT ?",
            tenant_no, before_no, customer_id, count,
        )  # fmt: skip

    def _one(self, where: str, *values: object) -> Job | None:
        jobs = self._many(where, *values)
        return jobs[0] if jobs else None

    def _many(self, where: str, *values: object) -> list[Job]:
        return [
            Job(job_no, _upload(asked), _progress(progress))
            for job_no, asked, progress in self._db.execute(f"{_JOB} {where}", values)
        ]

    def keep_refused(self, job_no: int, rows: Sequence[RefusedRow]) -> None:
        """Write down rows that were refused, in the order of their lines."""
        if rows:
            body = zstandard.ZstdCompressor(level=1).compress(_pack(list(rows)))
            self._db.execute(
                "INSERT INTO upload_refusals VALUES (?, ?, ?, ?)", (job_no, rows[-1].line, len(rows), body)
            )

    def refused(self, job_no: int, after_line: int) -> list[RefusedRow]:
        """Some of the refused rows behind a line, in the order of their lines; [] when there are no more."""
        row = self._db.execute(
            "SELECT body FROM upload_refusals WHERE job_no = ? AND last_line > ? ORDER BY last_line LIMIT 1",
            (job_no, after_line),
        ).fetchone()
        if row is None:
            return []
        found = _rows(zstandard.ZstdDecompressor().decompress(row[0]))
        return [refused for refused in found if refused.line > after_line]

    def forget_refused(self, job_no: int) -> None:
        """Forget the refused rows of a job that begins anew."""
        self._db.execute("DELETE FROM upload_refusals WHERE job_no = ?", (job_no,))

    def remember(self, job_no: int, first_no: int, last_no: int) -> None:
        """Note that the events of a job are among those from one number to another."""
        row = self._db.execute(
            "UPDATE upload_events SET last_no = ? WHERE job_no = ? AND last_no = ?",
            (last_no, job_no, first_no - 1),
        )
        if not row.rowcount:
            self._db.execute("INSERT INTO upload_events VALUES (?, ?, ?)", (job_no, first_no, last_no))

    def ranges(self, job_no: int, after_no: int) -> list[tuple[int, int]]:
        """(first, last) number of stretches among which a job's events are, behind a number."""
        return self._db.execute(
            "SELECT max(first_no, ?), last_no FROM upload_events WHERE job_no = ? AND last_no > ?"
            " ORDER BY first_no",
            (after_no + 1, job_no, after_no),
        ).fetchall()


def _wish(upload: Upload) -> bytes:
    return hashlib.blake2b(_encode(upload.wish), digest_size=16).digest()
