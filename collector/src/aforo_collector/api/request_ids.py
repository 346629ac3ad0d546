"""An id on every request and its answer, so that a caller and the log can talk about the same one."""

from __future__ import annotations

import re
from secrets import token_hex
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ACCEPTED = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestIds:
    """Takes the caller's `X-Request-Id`, or makes one, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = _given(scope["headers"])
        request_id = given or b"req_" + token_hex(8).encode()
        scope["aforo.request_id"] = request_id.decode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        await self._app(scope, receive, send_with_id)


def _given(headers: Any) -> bytes:
    for name, value in headers:
        if name == b"x-request-id" and _ACCEPTED.fullmatch(value):
            return bytes(value)
    return b""
