"""`POST /oauth/token` (RFC 6749 4.4) and the keys that its tokens are checked with.

Answers and errors have the shape of OAuth, not ours: the clients that ask are libraries.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aforo_collector.domain.credential import Credential
from aforo_collector.service.keyring import Denied
from aforo_collector.service.tokens import InvalidScope, NotYours

from .access import KEYS
from .bodies import read_body
from .desk import AtDesk, Desk
from .problems import Problem

router = APIRouter(tags=["oauth"])

FORM = "application/x-www-form-urlencoded"
BODY_BYTES_MAX = 16 * 1024
GRANT = "client_credentials"
_FIELDS = {"grant_type": {"const": GRANT}} | {
    name: {"type": "string"} for name in ("client_id", "client_secret", "scope")
}
_SCHEMA: dict[str, Any] = {"type": "object", "required": ["grant_type"], "properties": _FIELDS}
_BODY = {"requestBody": {"required": True, "content": {FORM: {"schema": _SCHEMA}}}}
_TOKEN_FIELDS = {
    name: {"type": "string"} for name in ("token", "token_type_hint", "client_id", "client_secret")
}
_TOKEN_SCHEMA: dict[str, Any] = {"type": "object", "required": ["token"], "properties": _TOKEN_FIELDS}
_REVOCATION = {"requestBody": {"required": True, "content": {FORM: {"schema": _TOKEN_SCHEMA}}}}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "RFC 6749, 5.2.", "content": {"application/json": {"schema": _ERROR}}}
}
_UNCACHED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class _Refused(Exception):
    """An error of RFC 6749 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status


@router.post("/oauth/token", response_class=Response, responses=_ERRORS, openapi_extra=_BODY)
async def token(request: Request, desk: AtDesk) -> Response:
    """Exchange the id and the secret of a client for an access token of 15 minutes.

    The two travel in the form or by HTTP Basic; `scope` asks for fewer scopes than the client has.
    """
    try:
        form = await _form(request, desk)
        _check_grant(form)
        credential = _client(desk, request, form)
        answer = await to_thread.run_sync(desk.credentials.tokens.issue, credential, form.get("scope", ""))
    except InvalidScope as error:
        return _error(request, _Refused("invalid_scope", str(error)))
    except _Refused as refused:
        return _error(request, refused)
    return Response(msgspec.json.encode(answer), 200, _UNCACHED, "application/json")


@router.post("/oauth/revoke", response_class=Response, responses=_ERRORS, openapi_extra=_REVOCATION)
async def revoke(request: Request, desk: AtDesk) -> Response:
    """Let an access token open nothing from now on (RFC 7009); a token that does not hold is answered the same.

    For the client that it was issued for, which names itself as at `/oauth/token`, and for an API key of the
    same tenant that may write keys.
    """
    try:
        form = await _form(request, desk)
        if "token" not in form:
            raise _Refused("invalid_request", "token is missing")
        may = _revoker(desk, request, form)
        await to_thread.run_sync(desk.credentials.tokens.revoke, form["token"], may)
    except NotYours as error:
        return _error(request, _Refused("unauthorized_client", str(error)))
    except _Refused as refused:
        return _error(request, refused)
    return Response(b"{}", 200, _UNCACHED, "application/json")


def _revoker(desk: Desk, request: Request, form: dict[str, str]) -> Callable[[Credential], bool]:
    """Whose tokens the one who asks may end."""
    if "x-api-key" in request.headers:
        try:
            by = desk.credentials.caller(request.headers, KEYS).credential
        except Problem as problem:
            raise _Refused("invalid_client", problem.detail, problem.status) from None
        return lambda credential: credential.owner_id == by.owner_id
    client = _client(desk, request, form)
    return lambda credential: credential.key_id == client.key_id


@router.get("/.well-known/jwks.json", response_class=Response)
def jwks(desk: AtDesk) -> Response:
    """The public keys that tokens are signed with, as a JSON Web Key Set; may be kept for an hour."""
    body = msgspec.json.encode(desk.credentials.tokens.published())
    return Response(body, 200, {"Cache-Control": "public, max-age=3600"}, "application/json")


async def _form(request: Request, desk: Desk) -> dict[str, str]:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != FORM:
        raise _Refused("invalid_request", f"content type {content_type or 'none'}; send {FORM}")
    try:
        body = await read_body(request, desk.bodies, BODY_BYTES_MAX)
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20)
    except Problem as problem:
        raise _Refused("invalid_request", problem.detail, problem.status) from None
    except ValueError:
        raise _Refused("invalid_request", "the form cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _Refused("invalid_request", "a parameter stands there twice")
    return form


def _check_grant(form: dict[str, str]) -> None:
    if "grant_type" not in form:
        raise _Refused("invalid_request", "grant_type is missing")
    if form["grant_type"] != GRANT:
        raise _Refused("unsupported_grant_type", f"the only grant is {GRANT}")


def _client(desk: Desk, request: Request, form: dict[str, str]) -> Credential:
    client_id, secret = _named(request, form)
    try:
        credential = desk.credentials.keyring.of_secret(secret)
    except Denied:
        credential = None
    if credential is None or credential.key_id != client_id:
        raise _Refused("invalid_client", "no such client, or not its secret, or revoked", 401)
    if not credential.exchangeable:
        raise _Refused("unauthorized_client", "a key of a standard API is sent as it is, not exchanged")
    return credential


def _named(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """(client id, secret) of a request that says them once."""
    given = request.headers.get("authorization")
    if given is None:
        if "client_id" not in form or "client_secret" not in form:
            raise _Refused("invalid_client", "client_id or client_secret is missing", 401)
        return form["client_id"], form["client_secret"]
    if "client_secret" in form:
        raise _Refused("invalid_request", "the client names itself twice, by Basic and in the form")
    scheme, _, encoded = given.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        client_id, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
        if not colon:
            raise ValueError
    except (binascii.Error, ValueError):
        raise _Refused("invalid_client", "Authorization is not HTTP Basic", 401) from None
    return unquote_plus(client_id), unquote_plus(secret)


def _error(request: Request, refused: _Refused) -> Response:
    headers = dict(_UNCACHED)
    if refused.status == 401 and "authorization" in request.headers:
        headers["WWW-Authenticate"] = 'Basic realm="aforo"'
    body = msgspec.json.encode({"error": refused.error, "error_description": str(refused)})
    return Response(body, refused.status, headers, "application/json")
