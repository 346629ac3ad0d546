"""The proxy, a metered server behind it, and the collector: one call is billed once."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.mcp.proxy.clients import connected
from tests.plugins.mcp.proxy.conftest import AFORO, free_port

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLS = 3


def got(port: int, path: str) -> dict[str, Any] | None:
    """Read from the collector; None while it has no answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"X-API-Key": "sk_test_dev"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (urllib.error.URLError, OSError):
        return None


@pytest.mark.parametrize("meta", [{"traceparent": PARENT}, {}], ids=["traced", "untraced"])
def test_a_call_through_two_layers_is_one_billable_call(
    environment: dict[str, str],
    processes: list["subprocess.Popen[str]"],
    tmp_path: Path,
    meta: dict[str, str],
) -> None:
    """A call that proxy and server both meter is one call in the session's totals, in one trace with many
    or, without a trace of the client's, in one of its own.
    """
    port = free_port()
    serve = [AFORO, "serve", "--dev", "--port", str(port), "--data", str(tmp_path / "data")]
    processes.append(subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True))
    environment |= {"AFORO_ENDPOINT": f"http://127.0.0.1:{port}", "AFORO_API_KEY": "sk_test_dev"}
    server = str(Path(__file__).with_name("metered_server.py"))

    def received() -> int:
        balance = got(port, "/v1/intake/balance")
        return 0 if balance is None else int(balance["data"]["received"])

    async def talk() -> None:
        command = [AFORO, "mcp-proxy", "--", sys.executable, server]
        async with connected(command, "legacy", environment) as caller:
            for number in range(CALLS):
                named = meta | {"sessionId": "s1"}
                assert (await caller.call("add", {"a": 1, "b": number}, named)).text == str(1 + number)

    deadline = time.monotonic() + 30
    while got(port, "/readyz") is None:
        assert time.monotonic() < deadline, "the collector did not start"
        time.sleep(0.1)
    asyncio.run(talk())
    while received() < 2 * CALLS:
        assert time.monotonic() < deadline, f"{received()} spans arrived"
        time.sleep(0.1)
    session = got(port, "/v1/sessions/s1")
    assert session is not None
    assert session["data"]["totals"]["toolCallsByName"] == {"add": {"calls": CALLS, "succeeded": CALLS}}
    assert session["data"]["totals"]["toolCalls"] == CALLS
