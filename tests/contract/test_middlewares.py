"""The middlewares of aforo-metering, unmodified: each request of a web application is one event here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from tests.collector.running import Running

from .events import name, recorded

KEY = "sk_test_dev"
Ask = Callable[[str, str, dict[str, str]], int]
REQUESTS = [("GET", "/things/1?color=red"), ("POST", "/things/1"), ("GET", "/missing"), ("OPTIONS", "/things/1"),
            ("GET", "/health")]  # fmt: skip


def use(collector: Running, ask: Ask, client: Any) -> None:
    """Send requests of a customer and of nobody; what the middleware's client metered has landed once."""
    acme = name()
    for method, path in REQUESTS:
        ask(method, path, {"X-Customer-Id": acme})
        ask(method, path, {})
    client.shutdown()
    assert client.dropped_count == 0
    found = recorded(collector, acme)
    assert [(one["httpMethod"], one["endpointPath"], one["statusCode"]) for one in found] == [
        ("GET", "/things/1", 200), ("POST", "/things/1", 200), ("GET", "/missing", 404),
    ]  # fmt: skip
    for one in found:
        assert (one["metricName"], one["quantity"], one["productType"]) == ("api_calls", "1", "API")
        assert one["responseTimeMs"] >= 0


def test_fastapi(collector: Running) -> None:
    """An ASGI application behind `aforo.middleware.fastapi`."""
    from aforo.middleware.fastapi import AforoMeteringMiddleware
    from fastapi import FastAPI

    app = FastAPI()

    @app.api_route("/things/{thing}", methods=["GET", "POST", "OPTIONS"])
    async def thing(thing: int) -> int:
        return thing

    metered = AforoMeteringMiddleware(app, api_key=KEY, base_url=collector.url, flush_interval=600)

    def ask(method: str, path: str, headers: dict[str, str]) -> int:
        async def send() -> int:
            transport = httpx.ASGITransport(app=metered)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                return (await client.request(method, path, headers=headers)).status_code

        return asyncio.run(send())

    use(collector, ask, metered._client)


def test_flask(collector: Running) -> None:
    """A Flask application with `aforo.middleware.flask`."""
    import flask
    from aforo.middleware.flask import AforoMetering

    app = flask.Flask("metered")
    app.add_url_rule("/things/<thing>", "thing", lambda thing: thing, methods=["GET", "POST"])
    metered = AforoMetering(app, api_key=KEY, base_url=collector.url)

    def ask(method: str, path: str, headers: dict[str, str]) -> int:
        return int(app.test_client().open(path, method=method, headers=headers).status_code)

    use(collector, ask, metered._client)


def test_django(collector: Running) -> None:
    """Django's chain with `aforo.middleware.django`, configured by settings."""
    from aforo.middleware.django import AforoMeteringMiddleware
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory

    settings.configure(AFORO_API_KEY=KEY, AFORO_BASE_URL=collector.url)

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200 if request.path == "/things/1" else 404)

    metered = AforoMeteringMiddleware(view)

    def ask(method: str, path: str, headers: dict[str, str]) -> int:
        return int(metered(RequestFactory().generic(method, path, headers=headers)).status_code)

    use(collector, ask, metered._client)
