"""Sources of webhooks in a running collector, and providers that send to them."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import httpx2
from aforo_collector.doors.webhooks.provider import Incoming
from aforo_collector.doors.webhooks.registry import provider_of

from tests.collector.running import Running
from tests.collector.test_webhook_signatures import PRIVATE, PUBLIC


class Sending(NamedTuple):
    """A source of a running collector, and a provider that sends to it."""

    collector: Running
    source: dict[str, Any]
    secret: str

    def __call__(
        self, body: Any, *, secret: str | None = None, age_s: int = 0, **headers: str
    ) -> httpx2.Response:
        """Send a body as the provider would, signed with a secret."""
        provider = provider_of(self.source["provider"], self.source["options"] or {})
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        url = self.collector.url + self.source["path"]
        now_s = int(time.time()) - age_s
        signed = provider.sign(secret or self.secret, Incoming(told, url, body), now_s)
        return self.collector.http.post(self.source["path"], content=body, headers=told | signed)

    def data(self, body: Any, **more: Any) -> dict[str, Any]:
        """What became of a delivery."""
        response = self(body, **more)
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    def change(self, **changes: Any) -> None:
        """Change the source."""
        response = self.collector.http.patch(f"/v1/webhook-sources/{self.source['sourceId']}", json=changes)
        assert response.status_code == 200, response.text

    def log(self, **parameters: Any) -> list[dict[str, Any]]:
        """What is logged of the source, latest first."""
        found: list[dict[str, Any]] = self.collector.data(
            "/v1/webhook-deliveries", sourceId=self.source["sourceId"], **parameters
        )
        return found

    def replay(self, delivery_id: str, *, dry: bool = False) -> dict[str, Any]:
        """What a replay makes of a delivery."""
        query = "?dryRun=true" if dry else ""
        response = self.collector.http.post(f"/v1/webhook-deliveries/{delivery_id}/replay{query}")
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()["data"]
        return data


def source(collector: Running, provider: str = "custom", **wanted: Any) -> Sending:
    """Make a source; its provider signs with the secret that was given, or that was made."""
    if provider not in ("github", "standard", "custom"):
        wanted = {"secret": PUBLIC if provider == "sendgrid" else "whsec_secret"} | wanted
    response = collector.http.post("/v1/webhook-sources", json={"provider": provider, **wanted})
    assert response.status_code == 201, response.text
    made = response.json()["data"]
    return Sending(collector, made, PRIVATE if provider == "sendgrid" else made["secret"])


def usage(who: str, event_id: str = "1", quantity: Any = 1, **more: Any) -> dict[str, Any]:
    """A payload of a custom sender."""
    return {"id": event_id, "customerId": who, "metricName": "api_calls", "quantity": quantity, **more}


def events(collector: Running, who: str) -> list[dict[str, Any]]:
    """The usage events of a customer."""
    found: list[dict[str, Any]] = collector.data("/v1/usage-events", customerId=who)
    return found
