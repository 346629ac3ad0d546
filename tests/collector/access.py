"""Routes of a collector, keys of every sort, and two tenants in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
from aforo_collector.api.access import Access, access_of
from aforo_collector.app import opened, operator_key
from aforo_collector.settings import Settings

from tests.collector.running import Running, Start


class Operation(NamedTuple):
    """A method of a route."""

    method: str
    path: str

    @property
    def access(self) -> Access:
        """What it asks for."""
        access = access_of(self.path, self.method)
        assert access is not None, f"api/access.py has no line for {self.method} {self.path}"
        return access

    def url(self, **values: str) -> str:
        """Its path, every parameter filled with the value of its name."""
        parts = self.path.split("{")
        filled = parts[0]
        for part in parts[1:]:
            name, _, rest = part.partition("}")
            filled += quote(values[name.partition(":")[0]]) + rest
        return filled


def operations(folder: Path) -> list[Operation]:
    """Every operation of the application, as it is wired together."""
    with opened(Settings(data=folder, dev=True), lambda _: None) as collector:
        return sorted(set(_of(collector.app.routes)))


def _of(routes: Any) -> Iterator[Operation]:
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from _of(inner.routes)
        else:
            for method in route.methods - {"HEAD"}:
                yield Operation(method, route.path)


class As:
    """Requests under one credential."""

    def __init__(self, collector: Running, secret: str, header: str = "X-API-Key") -> None:
        self._collector = collector
        self.secret = secret
        self.headers = {header: secret if header == "X-API-Key" else f"Bearer {secret}"}

    def __call__(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """The answer to a request."""
        headers = self.headers | more.pop("headers", {})
        return self._collector.http.request(method, path, headers=headers, **more)

    def data(self, path: str, **parameters: Any) -> Any:
        """`data` of a reading endpoint."""
        response = self("GET", path, params=parameters or None)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def made(self, **body: Any) -> dict[str, Any]:
        """A new key with its secret."""
        response = self("POST", "/v1/api-keys", json=body)
        assert response.status_code == 201, response.text
        made: dict[str, Any] = response.json()["data"]
        return made

    def key(self, **body: Any) -> As:
        """Requests under a new key."""
        return As(self._collector, self.made(**body)["secret"])

    def client(self, **body: Any) -> As:
        """Requests under a token of a new client."""
        made = self.made(**body)
        return As(self._collector, self.token(made["clientId"], made["clientSecret"]), "Authorization")

    def token(self, client_id: str, secret: str) -> str:
        """A token of a client."""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        response = self._collector.http.post("/oauth/token", data=form)
        assert response.status_code == 200, response.text
        token: str = response.json()["access_token"]
        return token


def key_said(collector: Running) -> str:
    """The key that a first start prints."""
    [line] = [line for line in collector.said if "sk_live_" in line]
    return line.split()[-1]


def two_tenants(start: Start, folder: Path) -> tuple[As, As]:
    """Everything allowed in tenant `default`, and in tenant `other`, of one process."""
    _, secret = operator_key(folder, "other", "recovered")
    collector = start("--data", str(folder))
    return As(collector, key_said(collector)), As(collector, secret)
