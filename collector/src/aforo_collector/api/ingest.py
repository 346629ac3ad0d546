"""Usage events over HTTP, answered after the commit.

    200/202   data: {accepted, duplicates, failed, errors: [{index, message, code, field}], killedSessionIds, …},
              `quarantined` of what was accepted where the catalog says so of unknown metrics
    400       the body, or the one event in it, is not what the route takes      401   unknown key
    403       a key that may not send
    409       the idempotency key of a single event was used for other contents
    413       the body is too large; 429 too many requests      415   another content type
    422       a single event of a metric that the catalog does not have
    503       too much waits to be written; nothing was recorded, send it again

A batch is taken in part: what is wrong with one of its events is told by its index, the others are recorded.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aforo_collector.domain.submission import CONFLICT, REJECTED, Fate, IntakeReport, Submission
from aforo_collector.doors import events
from aforo_collector.doors.events import Found, MalformedEvents, Place
from aforo_collector.doors.otlp import BodyTooLarge, MalformedBody, unpack
from aforo_collector.service.submissions import QUARANTINE
from aforo_collector.service.writer import QueueFull

from .access import INGEST
from .answers import Answer
from .bodies import busy, read_body
from .credentials import Caller
from .desk import Desk
from .problems import Problem

DOOR = "http"
BODY_BYTES_MAX = 10 * 1024 * 1024
EVENT_SIZE_BYTES = 200
"""A small event on the wire; only for guessing how many a body holds, so that transactions stay small."""

_UNPROCESSABLE = ("UNKNOWN_METRIC",)
_JSON = ("application/json", "text/json", "")


class _Read(NamedTuple):
    """What a body held; `places` say which compound event each measurement is of, None elsewhere."""

    found: Found
    places: list[Place] | None = None


Reader = Callable[[bytes], _Read]
Chooser = Callable[[str, Mapping[str, str]], Reader]
"""Finds the reader for a content type and headers, before the body is read; raises `Problem` 415."""


def _json(read: Reader, content_type: str, _: Mapping[str, str]) -> Reader:
    if content_type not in _JSON:
        detail = f"content type {content_type!r} is not JSON; nothing was recorded, send application/json"
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", detail)
    return read


def _single(content_type: str, headers: Mapping[str, str]) -> Reader:
    if content_type == events.CLOUD_EVENT:
        return lambda body: _Read(events.cloud_event(body))
    if "ce-specversion" in headers:
        return lambda body: _Read(events.binary_cloud_event(headers, body))
    return _json(lambda body: _Read(events.single(body)), content_type, headers)


def _batch(content_type: str, headers: Mapping[str, str]) -> Reader:
    if content_type == events.CLOUD_BATCH:
        return lambda body: _Read(events.cloud_events(body))
    return _json(lambda body: _Read(events.batch(body)), content_type, headers)


async def _one(request: Request, choose: Chooser) -> Response:
    """A route of one event: what is wrong with it is the answer, 202 if it waits in the quarantine."""
    found, report = await _submitted(request, choose)
    for fate in report.fates:
        if fate.verdict in (CONFLICT, REJECTED) and not report.recorded + report.duplicates:
            raise _problem(fate)
    return _answer(request, 202 if _waiting(report) else 200, _data(found, report))


async def _many(request: Request, choose: Chooser) -> Response:
    found, report = await _submitted(request, choose)
    return _answer(request, 202, _data(found, report))


async def _tried(request: Request, choose: Chooser) -> Response:
    """Validation alone: what would become of the event."""
    found, report = await _submitted(request, choose, dry=True)
    for fate in report.fates:
        if fate.verdict in (CONFLICT, REJECTED):
            raise _problem(fate)
    return _answer(request, 200, {**_data(found, report), "dryRun": True})


def _answer(request: Request, status: int, data: dict[str, Any]) -> Response:
    return Answer(data, status, requestId=request.scope["aforo.request_id"])


async def _submitted(request: Request, choose: Chooser, *, dry: bool = False) -> tuple[_Read, IntakeReport]:
    """Read, submit and wait for the commit."""
    desk: Desk = request.app.state.desk
    caller = desk.credentials.caller(request.headers, INGEST)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    read = choose(content_type, request.headers)
    limit = min(BODY_BYTES_MAX, desk.settings.body_bytes_max)
    body = await read_body(request, desk.bodies, limit)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    try:
        if encoding:
            body = await to_thread.run_sync(unpack, body, encoding, limit)
    except MalformedBody as error:
        raise Problem(400, "MALFORMED_BODY", f"{error}; nothing was recorded") from None
    except BodyTooLarge as error:
        raise Problem(413, "BODY_TOO_LARGE", f"{error}; nothing was recorded") from None
    desk.bodies.hold(len(body))
    try:
        return await _deliver(desk, caller, partial(read, body), len(body), dry)
    finally:
        desk.bodies.release(len(body))


async def _deliver(
    desk: Desk, caller: Caller, read: Callable[[], _Read], size_bytes: int, dry: bool
) -> tuple[_Read, IntakeReport]:
    found: list[_Read] = []

    def make() -> Submission:
        found.append(read())
        return Submission(caller.tenant.tenant_no, DOOR, found[0].found, caller.identity)

    try:
        if dry:
            future = desk.writer.command(lambda now_ns: desk.writer.intake.submissions.check(make(), now_ns))
        else:
            future = desk.writer.submit(make, size_bytes // EVENT_SIZE_BYTES)
        report: IntakeReport = await asyncio.wrap_future(future)
    except MalformedEvents as error:
        raise Problem(400, "MALFORMED_BODY", f"{error}; nothing was recorded") from None
    except QueueFull as error:
        raise busy(str(error)) from None
    except (sqlite3.Error, OSError, MemoryError) as error:  # a full disk, a lock: only waiting helps
        raise busy(f"the store cannot be written to ({error})") from None
    if desk.catalogs.catalog(caller.tenant.tenant_no).unknown_metrics == QUARANTINE:
        report = report._replace(fates=list(map(_patient, report.fates)))
    return found[0], report


def _patient(fate: Fate) -> Fate:
    """The fate of an event whose unit may come yet, and that waits for it: no error to its sender."""
    refused = fate.refusal is not None and fate.refusal.code in _UNPROCESSABLE
    return fate._replace(verdict=QUARANTINE) if refused else fate


def _waiting(report: IntakeReport) -> int:
    return sum(fate.verdict == QUARANTINE for fate in report.fates)


def _data(read: _Read, report: IntakeReport) -> dict[str, Any]:
    errors = [
        _told(Place(index, 0) if read.places is None else read.places[index], fate, read.places is not None)
        for index, fate in enumerate(report.fates)
        if fate.refusal is not None and fate.verdict in (CONFLICT, REJECTED)
    ]
    minted = [
        {"index": index, "idempotencyKey": fate.key}
        for index, fate in enumerate(report.fates)
        if fate.key.startswith("minted-")
    ]
    waiting = _waiting(report)
    data: dict[str, Any] = {
        "accepted": report.recorded + waiting,
        "duplicates": report.duplicates,
        "conflicts": report.conflicts,
        "failed": report.conflicts + report.rejected - waiting,
        "errors": errors,
        "killedSessionIds": list(report.killed_session_ids),
    }
    if minted:
        data["mintedKeys"] = minted
    if waiting:
        data["quarantined"] = waiting
    return data


def _told(place: Place, fate: Fate, compound: bool) -> dict[str, Any]:
    assert fate.refusal is not None
    code, detail, field = fate.refusal
    told: dict[str, Any] = {"index": place.event, "message": detail, "code": code}
    if field:
        told["field"] = field
    if compound:
        told["measurement"] = place.measurement
    if fate.key:
        told["idempotencyKey"] = fate.key
    return told


def _problem(fate: Fate) -> Problem:
    """What was wrong with the one event of a request."""
    assert fate.refusal is not None
    code, detail, field = fate.refusal
    status = 409 if fate.verdict == CONFLICT else 422 if code in _UNPROCESSABLE else 400
    errors = [{"parameter": field, "message": detail}] if field else None
    return Problem(status, code, f"{detail}; nothing was recorded", errors=errors)


_Serve = Callable[[Request, Chooser], Awaitable[Response]]
_ROUTES: tuple[tuple[str, _Serve, Chooser], ...] = (
    ("/v1/ingest", _one, _single),
    ("/v1/meter", _one, _single),
    ("/v1/ingest/test", _tried, _single),
    ("/v1/ingest/events", _one, partial(_json, lambda body: _Read(events.apigee(body)))),
    ("/v1/ingest/batch", _many, _batch),
    ("/v1/ingest/async-batch", _many, partial(_json, lambda body: _Read(events.bare(body)))),
)
_COMPOUND: tuple[tuple[str, _Serve, Chooser], ...] = (
    ("/api/v1/ingest/compound", _one, partial(_json, lambda body: _Read(*events.compound(body)))),
    (
        "/api/v1/ingest/compound/batch",
        _many,
        partial(_json, lambda body: _Read(*events.compound_batch(body))),
    ),
)


def _endpoint(serve: _Serve, choose: Chooser) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await serve(request, choose)

    return endpoint


ROUTES = [
    Route(path, _endpoint(serve, choose), methods=["POST"])
    for path, serve, choose in (
        *_ROUTES, *((f"/api{path}", serve, choose) for path, serve, choose in _ROUTES), *_COMPOUND,
    )
]  # fmt: skip
"""The routes of the contract; all but the compound ones answer with and without `/api` in front."""
