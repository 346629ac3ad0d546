"""`aforo key`: keys made, listed, rotated and revoked from a terminal, and the way back in without any."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from aforo_collector.cli import key

from tests.collector.access import As, key_said
from tests.collector.running import Running, Start


def ran(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """How a command ended and what it printed."""
    code = key.main([*words])
    said = capsys.readouterr()
    return code, said.out, said.err


def on(collector: Running, secret: str, *words: str) -> list[str]:
    """A command's words, for this collector, as JSON."""
    return [*words, "--endpoint", collector.url, "--api-key", secret, "--format", "json"]


def test_a_key_goes_through_its_life(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """What is created is printed with its secret, listed without, rotated, and opens nothing once revoked."""
    collector = start()
    owner = key_said(collector)
    words = ("create", "--name", "web", "--customer", "acme", "--app", "shop", "--scope", "usage:read")
    code, out, _ = ran(capsys, *on(collector, owner, *words))
    made = json.loads(out)
    assert (code, made["accessorType"], made["accessorId"]) == (0, "APP", "shop")
    assert As(collector, made["secret"])("GET", "/v1/sessions").status_code == 200
    code, out, _ = ran(capsys, *on(collector, owner, "list", "--customer", "acme"))
    assert [each["id"] for each in json.loads(out)] == [made["id"]]
    assert made["secret"] not in out
    code, out, err = ran(capsys, *on(collector, owner, "rotate", made["id"]))
    rotated = json.loads(out)["secret"]
    assert (code, "works until" in err) == (0, True)
    code, out, _ = ran(capsys, *on(collector, owner, "revoke", made["id"]))
    assert (code, json.loads(out)["status"]) == (0, "REVOKED")
    assert As(collector, rotated)("GET", "/v1/sessions").status_code == 403


def test_one_token_is_revoked_and_its_client_goes_on(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an argument or from stdin; another token of the client holds, and a wrong key revokes nothing."""
    collector = start()
    owner = As(collector, key_said(collector))
    made = owner.made(customerId="acme", productType="AI_AGENT")
    tokens = [owner.token(made["clientId"], made["clientSecret"]) for _ in range(3)]
    asked = ("--endpoint", collector.url, "--api-key")
    assert ran(capsys, "revoke-token", tokens[0], *asked, "sk_live_wrong")[0] == 1
    assert ran(capsys, "revoke-token", tokens[0], *asked, owner.secret)[0] == 0
    monkeypatch.setattr("sys.stdin", StringIO(f"{tokens[1]}\n"))
    assert ran(capsys, "revoke-token", "-", *asked, owner.secret)[0] == 0
    found = [As(collector, token, "Authorization")("GET", "/v1/sessions").status_code for token in tokens]
    assert found == [401, 401, 200]


def test_wrong_uses_end_as_the_table_of_exits_says(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """2 for a wrong use, 3 for a key that is not there, 4 for one that is revoked or a folder in use."""
    collector = start()
    owner = key_said(collector)
    assert ran(capsys, *on(collector, owner, "create", "--app", "a", "--agent", "b"))[0] == 2
    assert ran(capsys, *on(collector, owner, "create", "--scope", "everything"))[0] == 2
    assert ran(capsys, *on(collector, owner, "revoke", "key_nothing"))[0] == 3
    assert ran(capsys, *on(collector, owner, "revoke", "../customers/x"))[0] == 3
    made = json.loads(ran(capsys, *on(collector, owner, "create"))[1])["id"]
    assert ran(capsys, *on(collector, owner, "revoke", made))[0] == 0
    assert ran(capsys, *on(collector, owner, "rotate", made))[0] == 4


def test_a_way_back_in(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has the folder makes a new key for it while nobody serves it, for any tenant, and only then."""
    folder = str(tmp_path / "data")
    words = ("recover", "--data", folder, "--format", "json")
    collector = start()
    code, _, err = ran(capsys, *words)
    assert (code, "another collector works on" in err) == (4, True)
    collector.stop()
    secrets = [json.loads(ran(capsys, *words, *more)[1])["secret"] for more in ((), ("--tenant", "second"))]
    assert ran(capsys, *words, "--tenant", "a:test")[0] == 2
    collector = start()
    listed = [As(collector, secret).data("/v1/api-keys") for secret in secrets]
    assert [[each["name"] for each in keys] for keys in listed] == [["first", "recovered"], ["recovered"]]
