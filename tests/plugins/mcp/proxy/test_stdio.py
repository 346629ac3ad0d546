"""`aforo mcp-proxy -- COMMAND`: real clients, real servers, and whatever bytes there are."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.plugins.mcp.proxy.clients import ERAS, MODERN, connected
from tests.plugins.mcp.proxy.conftest import AFORO, wrapped
from tests.plugins.spool import ReadSpans, read

CAT = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"add"}}\n'
ANSWERS = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"content": []}}), flush=True)
"""
"""A server that answers everything."""

Processes = list["subprocess.Popen[bytes]"]


def start(
    environment: dict[str, str], processes: Processes, code: str, *options: str
) -> "subprocess.Popen[bytes]":
    """Start the proxy of a Python program."""
    process = subprocess.Popen(
        [AFORO, "mcp-proxy", *options, "--", sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    processes.append(process)
    return process


def finish(process: "subprocess.Popen[bytes]", given: bytes = b"") -> tuple[bytes, bytes]:
    """Write, close, and read until the end."""
    out, err = process.communicate(given, timeout=60)
    return out, err


@pytest.mark.parametrize("era", ERAS)
def test_a_real_client_sees_a_real_server(environment: dict[str, str], spans: ReadSpans, era: str) -> None:
    """A client and a server of the SDK, in every protocol, notice nothing, and each call is one span."""

    async def talk() -> None:
        async with connected(wrapped("--agent", "a1"), era, environment) as caller:
            assert "add" in await caller.tools()
            assert (await caller.call("add", {"a": 1, "b": 2}, {"teamId": "t1"})).text == "3"
            assert (await caller.call("fail")).failed
            assert (await caller.call("talk")).text == "done"
            assert (await caller.call("priced")).text == "dear"
            many = await asyncio.gather(*[caller.call("add", {"a": n, "b": n}) for n in range(20)])
            assert [called.text for called in many] == [str(2 * n) for n in range(20)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(caller.call("slow", {"seconds": 30}), 0.2)

    asyncio.run(talk())
    found = spans()
    names = [span["gen_ai.tool.name"] for span in found]
    assert names == ["add", "fail", "talk", "priced", *["add"] * 20, "slow"]
    assert {span["aforo.agent.id"] for span in found} == {"a1"}
    assert found[0]["aforo.team.id"] == "t1"
    assert found[1]["error.type"] == "tool_error"
    assert (found[3]["aforo.provider_cost"], found[3]["gen_ai.usage.output_tokens"]) == ("0.0042", 30)
    assert found[-1]["error.type"] == "CancelledError"
    assert len({span["aforo.session.id"] for span in found}) == 1
    assert len({span.id for span in found}) == len(found)


@pytest.mark.skipif(not MODERN, reason="the installed SDK has no calls that ask for input")
def test_rounds_of_input_are_one_call(environment: dict[str, str], spans: ReadSpans) -> None:
    """A tool that asks the user before it answers is called once, as the bill has it."""

    async def talk() -> None:
        async with connected(wrapped(), "auto", environment) as caller:
            assert (await caller.call("ask")).text == "thanks"

    asyncio.run(talk())
    assert [(span.name, span.failed) for span in spans()] == [("tools/call ask", False)]


def test_bytes_pass_unchanged(environment: dict[str, str], processes: Processes) -> None:
    """Whatever is written comes through as it was: no JSON, no UTF-8, no newline, empty lines, zeros."""
    given = (
        b'\xff\x00no json\n\r\n\n{"id":1,"method":"tools/call"\n' + bytes(range(256)) * 50 + b"\nno newline"
    )
    process = start(environment, processes, CAT)
    assert finish(process, given)[0] == given
    assert process.returncode == 0


def test_lines_of_many_megabytes_pass(
    environment: dict[str, str], processes: Processes, spans: ReadSpans
) -> None:
    """A call and an answer of 20 MB each pass whole, and are metered."""
    large = b"x" * 20_000_000
    call = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"repeat","arguments":{"t":"%s"}}}\n'
    )
    code = (
        "import json, sys\n"
        "text = json.loads(sys.stdin.readline())['params']['arguments']['t']\n"
        "print(json.dumps({'id': 1, 'result': {'content': [text]}}))"
    )
    out, _ = finish(start(environment, processes, code), call % large)
    assert out.count(b"x") == len(large)
    assert [(span.name, span.failed) for span in spans()] == [("tools/call repeat", False)]


def test_writers_are_held_back(environment: dict[str, str], processes: Processes) -> None:
    """A server that reads nothing stops its client after what pipes hold: the proxy piles nothing up."""
    process = start(environment, processes, "import time; time.sleep(5)")
    assert process.stdin is not None
    written = 0

    def write() -> None:
        nonlocal written
        assert process.stdin is not None
        try:
            while True:
                written += os.write(process.stdin.fileno(), b"y" * 65_536)
        except OSError:
            pass

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    settled = -1
    while settled != written:
        settled = written
        time.sleep(0.5)
    assert written < 1_000_000
    process.kill()
    writer.join(10)
    finish(process)


def test_stderr_and_exit_code_are_the_servers(environment: dict[str, str], processes: Processes) -> None:
    """What the server says on stderr and its exit code are what the client of a direct connection would get."""
    process = start(environment, processes, "import sys; print('trouble', file=sys.stderr); sys.exit(42)")
    assert finish(process) == (b"", b"trouble\n")
    assert process.returncode == 42


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_the_server(
    environment: dict[str, str], processes: Processes, number: signal.Signals
) -> None:
    """A signal to the proxy is one to the server, which may end as it likes."""
    code = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    process = start(environment, processes, code)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    finish(process)
    assert process.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_server_by_a_signal_is_the_proxys(
    environment: dict[str, str], processes: Processes, spans: ReadSpans, number: signal.Signals
) -> None:
    """A server that a signal ends takes the proxy with it; its open call ends as an error, none is lost."""
    code = f"import os, sys; sys.stdin.readline(); os.kill(os.getpid(), {int(number)})"
    process = start(environment, processes, code)
    assert process.stdin is not None
    process.stdin.write(CALL % 1)
    assert process.wait(30) == -number
    finish(process)
    assert [span["error.type"] for span in spans()] == ["ConnectionError"]


def test_calls_left_open_by_the_client_are_cancelled(
    environment: dict[str, str], processes: Processes, spans: ReadSpans
) -> None:
    """If the client closes the connection, what it has not waited for is cancelled."""
    finish(start(environment, processes, "import sys; sys.stdin.read()"), CALL % 1)
    assert [span["error.type"] for span in spans()] == ["CancelledError"]


def test_a_last_line_needs_no_newline(
    environment: dict[str, str], processes: Processes, spans: ReadSpans
) -> None:
    """What ends with the stream is a line like any other: to a server that reads it so, and on the bill."""
    answers = ANSWERS.replace("flush=True", "end='', flush=True")
    process = start(environment, processes, answers)
    out, _ = finish(process, (CALL % 1).rstrip())
    assert out
    (span,) = spans()
    assert (span.name, span["error.type"]) == ("tools/call add", None)


def test_what_the_client_has_seen_survives_kill_9(
    environment: dict[str, str], processes: Processes, spans: ReadSpans
) -> None:
    """Calls whose answers have reached the client are in the spool, even if the proxy is killed right then."""
    process = start(environment, processes, ANSWERS)
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(5):
        process.stdin.write(CALL % number)
        assert process.stdout.readline()
    process.kill()
    finish(process)
    assert len(spans()) == 5


def test_a_server_outlives_no_proxy(
    environment: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    """When the proxy is killed, its server sees the end of its input, as with a killed client."""
    gone = tmp_path / "gone"
    code = f"import sys, pathlib; print(1, flush=True); sys.stdin.read(); pathlib.Path({str(gone)!r}).touch()"
    process = start(environment, processes, code)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    finish(process)
    deadline = time.monotonic() + 20
    while not gone.exists():
        assert time.monotonic() < deadline, "the server runs on"
        time.sleep(0.05)


def test_a_grandchild_with_the_pipe_is_not_waited_for(
    environment: dict[str, str], processes: Processes
) -> None:
    """A server that leaves a process behind which holds its stdout open ends all the same."""
    code = "import subprocess, sys; print('done', flush=True); subprocess.Popen(['sleep', '25'])"
    process = start(environment, processes, code)
    assert process.stdin is not None
    began = time.monotonic()
    assert process.wait(20) == 0
    assert time.monotonic() - began < 20


def test_a_command_that_cannot_start_says_so(environment: dict[str, str]) -> None:
    """Without a server nothing runs: the exit code is 127, and stderr says why."""
    command = [AFORO, "mcp-proxy", "--", "/no/such/server"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 127
    assert "/no/such/server cannot be started" in done.stderr


@pytest.mark.parametrize(
    "words",
    [[], ["--upstream", "http://127.0.0.1:1/mcp", "--", "cat"], ["--upstream", "ftp://x"], ["--listen", "x"]],
)
def test_wrong_words_are_refused(environment: dict[str, str], words: list[str]) -> None:
    """Without exactly one server to stand in front of, nothing starts: exit code 2."""
    command = [AFORO, "mcp-proxy", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2


def test_an_unknown_customer_is_said_once(
    environment: dict[str, str], processes: Processes, spans: ReadSpans
) -> None:
    """Without a customer the span is kept without one, and one line on stderr says how to name it."""
    del environment["AFORO_CUSTOMER_ID"]
    _, err = finish(start(environment, processes, ANSWERS), CALL % 1 + CALL % 2)
    assert [span["aforo.customer.id"] for span in spans()] == [None, None]
    assert err.count(b"--customer") == 1


def test_names_and_sessions_of_the_server(
    environment: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    """The server's environment is untouched by the proxy's options, and its session ends with it."""
    code = "import os, sys; sys.stdin.read(); print(os.environ.get('OTEL_SERVICE_NAME'))"
    out, _ = finish(start(environment, processes, code, "--server-name", "sums"), b"")
    assert out == b"None\n"
    finish(start(environment, processes, ANSWERS, "--server-name", "sums"), CALL % 1)
    ends = [span for span in read(tmp_path / "spool") if span["aforo.operation.name"] == "session_end"]
    assert [span["aforo.session.id"].startswith("mcp-stdio-") for span in ends] == [True]
