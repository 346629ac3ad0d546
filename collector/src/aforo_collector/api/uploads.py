"""Uploads: a file of usage events comes in, a job works it off, and a report says what became of each row."""

from __future__ import annotations

from collections.abc import Iterator
from time import time_ns
from typing import Any, cast

import msgspec
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from aforo_collector.domain.upload import Job, Upload
from aforo_collector.doors.uploads.columns import renamed_from
from aforo_collector.doors.uploads.form import MalformedForm, UploadForm
from aforo_collector.doors.uploads.reading import CSV
from aforo_collector.doors.uploads.rows import UnreadableFile
from aforo_collector.pipeline.wire_names import TEXT_LENGTHS
from aforo_collector.service.uploads import JobNotOver, PartlyTakenBack
from aforo_collector.store.upload_files import IncomingFile
from aforo_collector.views.upload import report_view, upload_view
from aforo_collector.views.upload_page import ROWS_SHOWN_MAX, report_page

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found
from .bodies import busy
from .credentials import Caller, Tenant
from .desk import AtDesk, CustomerId, Desk, OfCaller, OfTenant
from .problems import Problem

FORM_BYTES_MAX = 1024 * 1024
"""What a form may have beside its file."""
WRITE_BYTES = 1024 * 1024
_ROWS_MAX = 10**12
_SWITCH = {"": False, "true": True, "1": True, "false": False, "0": False}
_FORM = {
    "required": ["file"],
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "CSV or NDJSON, plain, gzip or zstd."},
        "defaultMetricName": {"type": "string", "maxLength": 255},
        "defaultCustomerId": {"type": "string", "maxLength": 64},
        "rowCount": {"type": "integer", "minimum": 0, "description": "How many rows there are; a check."},
        "columnMap": {"type": "string", "description": 'JSON: {"name in the file": "customerId"}.'},
        "backfillDays": {"type": "integer", "minimum": 1, "description": "How old rows may be, beyond 90."},
        "dryRun": {"type": "boolean", "description": "Only say what would become of the rows."},
    },
}
_REQUEST = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_REJECTED: dict[str, Any] = {"content": {"text/csv": {}, "application/x-ndjson": {}}}
_examining = CapacityLimiter(2)
"""Unpacking a large file takes long; the threads of the readers are not for that."""

router = APIRouter(tags=["uploads"])


@router.post("/v1/ingest/upload", response_class=Answer, status_code=202, openapi_extra=_REQUEST)
@router.post("/api/v1/ingest/upload", response_class=Answer, status_code=202, include_in_schema=False)
async def upload(request: Request, desk: AtDesk, caller: OfCaller) -> Answer:
    """Queue a file of usage events; the same file again is the same job (`meta.repeated`).

    Under a customer's credential all rows are that customer's, whatever they say.
    """
    try:
        form = UploadForm(request.headers.get("content-type", ""))
    except MalformedForm as error:
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", f"{error}; nothing was recorded") from None
    upload_id, incoming = await to_thread.run_sync(desk.uploads.receive)
    try:
        await _receive(request, form, incoming, desk.settings.upload_bytes_max)
        allowed_days = desk.catalogs.catalog(caller.tenant.tenant_no).backfill_days
        asked = _asked(form, allowed_days or desk.settings.backfill_days_max)
        job, repeated = await to_thread.run_sync(
            _queue, desk, caller, upload_id, incoming, form.file_name, asked, limiter=_examining
        )
    except MalformedForm as error:
        raise Problem(400, "MALFORMED_BODY", f"{error}; nothing was recorded") from None
    except UnreadableFile as error:
        raise Problem(413 if error.code == "FILE_TOO_LARGE" else 422, error.code, str(error)) from None
    except PartlyTakenBack as error:
        raise Problem(409, "PARTLY_TAKEN_BACK", str(error)) from None
    except OSError as error:
        raise busy(f"the file cannot be written ({error.strerror})") from None
    finally:
        await to_thread.run_sync(incoming.discard)
    return Answer(upload_view(job), 202, repeated=repeated)


async def _receive(request: Request, form: UploadForm, incoming: IncomingFile, size_bytes_max: int) -> None:
    """Write the file down as it comes; no more of it is in memory than a moment brings."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > size_bytes_max + FORM_BYTES_MAX:
        raise _too_large(size_bytes_max)
    pieces: list[bytes] = []
    held = size = beside = 0
    try:
        async for chunk in request.stream():
            fresh = form.feed(chunk)
            fresh_bytes = sum(map(len, fresh))
            beside += len(chunk) - fresh_bytes
            size += fresh_bytes
            if size > size_bytes_max or beside > FORM_BYTES_MAX + size // 8:
                raise _too_large(size_bytes_max)
            pieces += fresh
            held += fresh_bytes
            if held >= WRITE_BYTES:
                await to_thread.run_sync(incoming.write, pieces)
                pieces, held = [], 0
    except ClientDisconnect:
        raise Problem(
            400, "MALFORMED_BODY", "the connection ended before the body did; nothing was recorded"
        ) from None
    await to_thread.run_sync(incoming.write, pieces)
    form.finish()


def _queue(
    desk: Desk, caller: Caller, upload_id: str, incoming: IncomingFile, file_name: str, asked: dict[str, Any]
) -> tuple[Job, bool]:
    form, digest, unpacked_bytes = desk.uploads.examine(incoming, file_name)
    wanted = Upload(
        upload_id, caller.tenant.tenant_no, file_name, form, digest, incoming.size_bytes, unpacked_bytes, time_ns(),
        caller=caller.identity, **asked,
    )  # fmt: skip
    return desk.uploads.queue(wanted, incoming)


def _asked(form: UploadForm, backfill_days_max: int) -> dict[str, Any]:
    """What the fields of the form say, by field of `Upload`; raises `Problem` 422."""
    fields = form.fields
    dry_run = _SWITCH.get(fields.get("dryRun", "").lower())
    if dry_run is None:
        raise _invalid("dryRun", "is true or false")
    backfill_days = _number(fields, "backfillDays", 3_650) or 0
    if backfill_days > backfill_days_max:
        raise _invalid(
            "backfillDays",
            f"{backfill_days} is more than the {backfill_days_max} days that are allowed (`backfill_days` of the"
            " catalog, else `aforo serve --backfill-days-max`)",
        )
    return {
        "columns": _column_map(fields.get("columnMap", "")),
        "metric": _text(fields, "defaultMetricName", "metricName"),
        "customer": _text(fields, "defaultCustomerId", "customerId"),
        "backfill_days": backfill_days,
        "dry_run": dry_run,
        "rows_declared": _number(fields, "rowCount", _ROWS_MAX),
    }


def _text(fields: dict[str, str], name: str, field: str) -> str:
    value = fields.get(name, "")
    if len(value) > TEXT_LENGTHS[field] or not value.isprintable():
        raise _invalid(name, f"is longer than {TEXT_LENGTHS[field]} characters or cannot be printed")
    return value


def _number(fields: dict[str, str], name: str, most: int) -> int | None:
    text = fields.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most):
        raise _invalid(name, f"is a whole number up to {most}")
    return int(text)


def _column_map(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        return renamed_from(msgspec.json.decode(text, type=dict[str, str]))
    except (ValueError, RecursionError) as error:
        raise _invalid("columnMap", f"is no column map: {error}") from None


def _invalid(parameter: str, message: str) -> Problem:
    errors = [{"parameter": parameter, "message": message}]
    return Problem(422, "INVALID_PARAMETER", f"{parameter} {message}; nothing was recorded", errors=errors)


def _too_large(size_bytes_max: int) -> Problem:
    detail = (
        f"the file is larger than {size_bytes_max} bytes; nothing was recorded, send it packed or in parts, or"
        " raise `aforo serve --upload-bytes-max`"
    )
    return Problem(413, "BODY_TOO_LARGE", detail)


@router.get("/v1/uploads", response_class=Answer)
def uploads(
    desk: AtDesk,
    tenant: OfTenant,
    customer_id: CustomerId = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """The jobs, latest first; of a customer those that came under its own credentials."""
    jobs, following = desk.uploads.latest(tenant.tenant_no, customer_id, cursor, limit)
    return Answer([upload_view(job) for job in jobs], nextCursor=following)


@router.get("/v1/uploads/{job_id}", response_class=Answer)
def one_upload(desk: AtDesk, tenant: OfTenant, job_id: str, customer_id: CustomerId = None) -> Answer:
    """A job: its state, how far it is, and its books."""
    return Answer(upload_view(_job(desk, tenant, customer_id, job_id)))


@router.get("/v1/uploads/{job_id}/report", response_class=Answer)
def report(
    desk: AtDesk,
    tenant: OfTenant,
    job_id: str,
    customer_id: CustomerId = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """The validation report: the job, and a page of the rows that were not recorded, each with its reason."""
    job = _job(desk, tenant, customer_id, job_id)
    rows, following = desk.uploads.refused(job, cursor, limit)
    return Answer(report_view(job, rows), nextCursor=following)


@router.get("/v1/uploads/{job_id}/report.html", response_class=HTMLResponse)
def report_html(desk: AtDesk, tenant: OfTenant, job_id: str, customer_id: CustomerId = None) -> HTMLResponse:
    """The validation report as a page, with the first thousand of its rows."""
    job = _job(desk, tenant, customer_id, job_id)
    rows, following = desk.uploads.refused(job, None, ROWS_SHOWN_MAX)
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(report_page(report_view(job, rows), following is not None), headers=headers)


@router.get("/v1/uploads/{job_id}/rejected", response_class=Response, responses={200: _REJECTED})
def rejected(desk: AtDesk, tenant: OfTenant, job_id: str, customer_id: CustomerId = None) -> Response:
    """The rows that were not recorded as a file like the one they came in, to mend and to send again."""
    job = _job(desk, tenant, customer_id, job_id)
    media_type, ending = ("text/csv", "csv") if job.upload.form == CSV else ("application/x-ndjson", "ndjson")
    content: Iterator[bytes] = desk.uploads.refused_file(job)
    headers = {
        "Content-Disposition": f'attachment; filename="{job.upload.upload_id}-rejected.{ending}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(content, media_type=f"{media_type}; charset=utf-8", headers=headers)


@router.post("/v1/uploads/{job_id}/revert", response_class=Answer, status_code=202)
def revert(desk: AtDesk, tenant: OfTenant, job_id: str) -> Answer:
    """Take back every event that a job recorded, by correction events; doing it twice changes nothing."""
    try:
        job = desk.uploads.revert(tenant.tenant_no, job_id)
    except JobNotOver as error:
        raise Problem(409, "JOB_NOT_OVER", str(error)) from None
    return Answer(upload_view(found(job, f"upload {job_id!r}")), 202)


def _job(desk: Desk, tenant: Tenant, customer_id: str | None, job_id: str) -> Job:
    job = desk.uploads.find(tenant.tenant_no, job_id)
    if job is not None and customer_id not in (None, job.upload.caller.customer_id):
        job = None
    return cast(Job, found(job, f"upload {job_id!r}"))
