"""Uploads and their validation reports, as they travel."""

from __future__ import annotations

from collections.abc import Iterable

from aforo_collector.domain.upload import Job, RefusedRow

from .wire import Wire, instant

RAW_LENGTH_MAX = 1_000


def upload_view(job: Job) -> Wire:
    """A job: what was asked for, how far it is, and its books."""
    upload, progress = job.upload, job.progress
    return {
        "jobId": upload.upload_id,
        "state": progress.state,
        "dryRun": upload.dry_run,
        "fileName": upload.file_name,
        "format": upload.form,
        "sha256": upload.digest,
        "sizeBytes": upload.size_bytes,
        "unpackedBytes": upload.unpacked_bytes,
        "processedBytes": progress.offset,
        "columnMap": dict(upload.columns),
        "defaultMetricName": upload.metric or None,
        "defaultCustomerId": upload.customer or None,
        "backfillDays": upload.backfill_days or None,
        "rowCount": upload.rows_declared,
        "createdAt": instant(upload.created_ns),
        "startedAt": instant(progress.started_ns),
        "finishedAt": instant(progress.finished_ns),
        "totals": {
            "received": progress.received,
            "recorded": progress.recorded,
            "duplicates": progress.duplicates,
            "conflicts": progress.conflicts,
            "rejected": progress.rejected,
        },
        "firstOccurredAt": instant(progress.first_ns),
        "lastOccurredAt": instant(progress.last_ns),
        "errors": dict(progress.errors),
        "problem": {"code": progress.problem_code, "message": progress.problem} if progress.problem else None,
        "warnings": _warnings(job),
        "reversal": {"state": progress.reversal, "takenBack": progress.taken_back}
        if progress.reversal
        else None,
    }


def _warnings(job: Job) -> list[str]:
    declared, received = job.upload.rows_declared, job.progress.received
    if declared is None or not job.progress.is_over or declared == received:
        return []
    return [f"the sender announced {declared} rows, and the file has {received}"]


def report_view(job: Job, rows: Iterable[RefusedRow]) -> Wire:
    """The validation report: the job, and rows that were not recorded, by line."""
    return {**upload_view(job), "rows": [refused_row_view(row) for row in rows]}


def refused_row_view(row: RefusedRow) -> Wire:
    """A row that was not recorded; its text is cut at `RAW_LENGTH_MAX` characters (`rawCut`)."""
    raw = row.raw.decode("utf-8", "replace").removesuffix("\r")
    return {
        "line": row.line,
        "idempotencyKey": row.key or None,
        "field": row.field or None,
        "code": row.code,
        "message": row.detail,
        "raw": raw[:RAW_LENGTH_MAX],
        "rawCut": row.is_cut or len(raw) > RAW_LENGTH_MAX,
    }


def harmless(text: str) -> str:
    """Text of a file for a table that may end in a spreadsheet: what would be a formula there is only text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
