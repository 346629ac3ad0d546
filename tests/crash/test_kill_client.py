"""kill -9 of the user's process: every span whose callback had returned is billed exactly once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.collector.running import Running

PROGRAM = """
import itertools, os, sys
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from aforo_langchain import AforoCallbackHandler

handler = AforoCallbackHandler(customer_id="acme", session_id="crashing")
answer = AIMessage("ok", usage_metadata={"input_tokens": 100, "output_tokens": 10, "total_tokens": 110})
model = FakeMessagesListChatModel(responses=[answer])
config = {"callbacks": [handler]}
for number in itertools.count():
    name = f"{sys.argv[1]}-{number}"

    @tool(name)
    def lookup(query: str) -> str:
        "Look something up."
        return query

    lookup.invoke({"query": "x"}, config)
    os.write(1, f"{name}\\n".encode())  # the callback has returned: from here on the call is billed
    model.invoke("hello", config)
"""


def _run_and_kill(environment: dict[str, str], name: str, seconds: float) -> list[str]:
    """Start a program, kill it some time after its first call; the names of the calls that had returned."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name], env=environment, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(seconds)
        child.kill()
        rest = child.stdout.read()
    said = (first + rest).split("\n")
    return [line for line in said[:-1] if line]


def _kill_again_and_again(folder: Path, kills: int, seed: int) -> None:
    source = random.Random(seed)
    flags = ("--dev", "--data", str(folder / "data"))
    collector = Running(*flags)
    port = collector.url.rpartition(":")[2]
    environment = os.environ | {
        "AFORO_ENDPOINT": collector.url,
        "AFORO_SPOOL_DIR": str(folder / "spool"),
        "AFORO_API_KEY": "sk_test_dev",
    }
    returned: list[str] = []
    try:
        for number in range(kills):
            returned += _run_and_kill(environment, f"p{number}", source.uniform(0.0, 0.25))
            if number % 7 == 3:  # the collector dies too now and then, and comes back on its port
                collector.kill()
                collector = Running(*flags, "--port", port)
        sent = subprocess.run(
            [Path(sys.executable).with_name("aforo"), "spool", "send", folder / "spool"],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert sent.returncode == 0, sent.stderr
        session = collector.data("/v1/sessions/crashing")
    finally:
        collector.stop()
    billed = session["totals"]["toolCallsByName"]
    assert {name: billed[name]["calls"] for name in returned} == dict.fromkeys(returned, 1)
    unsaid = set(billed) - set(returned)
    assert len(unsaid) <= kills, "at most the call during which each process died"
    assert all(billed[name]["calls"] == 1 for name in unsaid)
    assert session["totals"]["tokens"]["total"] == 110 * session["totals"]["modelCalls"]
    assert len(returned) - kills <= session["totals"]["modelCalls"] <= len(billed)


def test_every_finished_call_is_billed_once_through_twenty_kills(tmp_path: Path) -> None:
    """Twenty processes killed at random moments, and the collector now and then, lose and double nothing."""
    _kill_again_and_again(tmp_path, 20, seed=int(os.environ.get("AFORO_CRASH_SEED", "2")))


@pytest.mark.long
def test_every_finished_call_is_billed_once_through_two_hundred_kills(tmp_path: Path) -> None:
    """The same for minutes, with a seed of the moment."""
    seed = int(os.environ.get("AFORO_CRASH_SEED", str(time.time_ns())))
    print(f"AFORO_CRASH_SEED={seed}")
    _kill_again_and_again(tmp_path, 200, seed)
