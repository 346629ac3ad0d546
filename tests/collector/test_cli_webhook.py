"""`aforo webhook`: sources, samples that are signed, and replays, against a real collector."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.cli import webhook
from aforo_collector.doors.webhooks.registry import PROVIDERS

from tests.collector.running import Running
from tests.collector.test_webhook_signatures import PRIVATE, PUBLIC
from tests.collector.wire import customer

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(collector: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; its exit code and what it printed as JSON."""
    monkeypatch.setenv("AFORO_ENDPOINT", collector.url)

    def run(*words: str) -> tuple[int, Any]:
        code = webhook.main([*words, "--format", "json"])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else None

    return run


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_sample_of_every_provider_can_be_triggered(
    run: Run, collector: Running, provider: str, tmp_path: Path
) -> None:
    """A source is made, tried without a secret, triggered with it, and an event id comes in once."""
    who = customer()
    private = tmp_path / "private.pem"
    private.write_text(PRIVATE)
    terms = tmp_path / "source.toml"
    terms.write_text(f'[mappings]\ncustomerId = "{who}"\n')
    given = PUBLIC if provider == "sendgrid" else "whsec_" + "A" * 32
    code, made = run("sources", "add", provider, "--file", str(terms), "--secret", given)
    assert (code, made["secret"]) == (0, given)
    secret = f"@{private}" if provider == "sendgrid" else given
    source = made["sourceId"]
    code, tried = run("trigger", source, "--dry-run")
    assert (code, tried["outcome"], tried["deliveryId"]) == (0, "accepted", None)
    sends = [run("trigger", source, "--secret", secret, "--event-id", "5") for _ in range(2)]
    assert [(code, said["outcome"]) for code, said in sends] == [(0, "accepted"), (0, "duplicate")]
    assert len(collector.data("/v1/usage-events", customerId=who)) == 1
    assert run("trigger", source, "--secret", "whsec_" + "B" * 32)[0] != 0
    assert run("trigger", source)[0] == 2


def test_rejected_deliveries_are_replayed(run: Run, collector: Running, tmp_path: Path) -> None:
    """`replay` mends one delivery or all of a source, and fails while something is still rejected."""
    who = customer()
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps({"id": "1", "account": who, "metricName": "api_calls"}))
    _, made = run("sources", "add", "custom", "--name", "billing")
    source, secret = made["sourceId"], made["secret"]
    code, said = run("trigger", source, "--payload", str(payload), "--secret", secret)
    assert (code, said["outcome"]) == (1, "rejected")
    assert run("replay", "--source", source)[0] == 1
    assert (
        run("deliveries", "--source", source, "--outcome", "rejected")[1][0]["deliveryId"]
        == said["deliveryId"]
    )
    collector.http.patch(f"/v1/webhook-sources/{source}", json={"mappings": {"customerId": "$.account"}})
    assert run("replay", said["deliveryId"], "--dry-run")[1]["events"][0]["event"]["customerId"] == who
    code, counts = run("replay", "--source", source)
    assert (code, counts["replayed"], counts["accepted"]) == (0, 1, 1)
    assert run("replay", said["deliveryId"])[1]["outcome"] == "duplicate"
    assert len(collector.data("/v1/usage-events", customerId=who)) == 1
    assert run("replay")[0] == 2


def test_stripe_is_pointed_at_a_source_before_it_tells_its_secret(run: Run) -> None:
    """A source is made first, for its path; the secret that Stripe then tells is set by `rotate`."""
    code, made = run("sources", "add", "stripe", "--metric", "api_calls", "--filter", "charge.succeeded")
    assert (code, made["secret"]) == (0, None)
    assert run("trigger", made["sourceId"], "--secret", "whsec_told")[0] == 1
    assert run("sources", "rotate", made["sourceId"])[0] == 2
    assert run("sources", "rotate", made["sourceId"], "--secret", "whsec_told")[0] == 0
    assert run("trigger", made["sourceId"], "--secret", "whsec_told")[1]["outcome"] == "accepted"


def test_sources_are_listed_rotated_and_removed(run: Run) -> None:
    """A rotated secret holds at once, the one before ends with its grace, and a removed source is gone."""
    _, made = run("sources", "add", "github", "--metric", "api_calls", "--filter", "push", "--filter", "ping")
    source = made["sourceId"]
    listed = {one["sourceId"]: one for one in run("sources")[1]}
    assert (listed[source]["eventFilter"], "secret" in listed[source]) == (["push", "ping"], False)
    _, rotated = run("sources", "rotate", source, "--grace-s", "0")
    assert run("trigger", source, "--secret", rotated["secret"])[0] == 0
    assert run("trigger", source, "--secret", made["secret"])[0] == 1
    assert run("sources", "remove", source)[0] == 0
    assert run("sources", "remove", source)[0] == 3
