"""`aforo`, `aforo doctor` and `aforo spool` as a user runs them."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from aforo_sdk import cli

from tests.sdk.processes import environment, run
from tests.sdk.sink import Reply, Sink

NOWHERE = "http://127.0.0.1:9"


def aforo(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    program = "import sys; from aforo_sdk.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *words], env=env, capture_output=True, text=True, check=False
    )


def test_help_lists_the_commands(spool: Path) -> None:
    """`aforo` and `aforo --help` list every command with one line; an unknown one is a usage error."""
    env = environment(spool, NOWHERE)
    for words in ([], ["--help"]):
        done = aforo(*words, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\n  doctor" in done.stdout
        assert "\n  spool" in done.stdout
    done = aforo("bogus", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "bogus" in done.stderr


def test_commands_come_from_entry_points(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any distribution adds commands; the exit code is the callable's, and one that cannot load spoils
    only its line.
    """
    points = [
        EntryPoint("good", "tests.sdk.test_commands:sample", cli.GROUP),
        EntryPoint("bad", "tests.sdk.nowhere:main", cli.GROUP),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    assert cli.main(["good", "a", "b"]) == 2
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "good  Count the words" in shown
    assert "bad   (cannot be loaded" in shown


def sample(arguments: list[str]) -> int:
    """Count the words.

    More text that is not shown.
    """
    return len(arguments)


def test_doctor_says_what_is_in_force(sink: Sink, spool: Path) -> None:
    """Settings with their sources, what waits, other keys, distributions; 0 with a collector, 5 without."""
    run("write('a'); write('b')", environment(spool, NOWHERE, AFORO_API_KEY="one"))
    run("write('c')", environment(spool, NOWHERE, AFORO_API_KEY="sk_secret_two"))
    env = environment(spool, NOWHERE, AFORO_API_KEY="sk_secret_two")
    done = aforo("doctor", "--format", "json", env=env)
    assert done.returncode == 5
    found = json.loads(done.stdout)
    assert found["settings"]["endpoint"] == {"value": NOWHERE, "from": "AFORO_ENDPOINT"}
    assert found["settings"]["product_type"] == {"value": "AGENTIC_API", "from": "default"}
    assert "secret" not in done.stdout
    assert found["spool"]["waiting_spans"] == 1
    assert (found["spool"]["segments_of_other_keys"], found["spool"]["spans_of_other_keys"]) == (1, 2)
    assert found["installed"]["aforo-sdk"]
    assert found["collector"]["answers"] is False
    done = aforo("doctor", env=environment(spool, sink.url))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{sink.url}/livez" in done.stdout


def test_doctor_shows_what_other_processes_counted(sink: Sink, spool: Path) -> None:
    """Spans refused by a process that is long gone are reported."""
    program = (
        "for n in range(500): write('x' * 200)\naforo_sdk.flush(1.0)\nwrite('x' * 200)\naforo_sdk.flush(1.0)"
    )
    sink.answer = lambda _: Reply(503)
    run(program, environment(spool, sink.url, AFORO_SPOOL_MAX_BYTES="20000"))
    found = json.loads(aforo("doctor", "--format", "json", env=environment(spool, sink.url)).stdout)
    assert found["counters of the last week"]["spans_refused"] > 300


def test_spool_send_delivers_any_key(sink: Sink, spool: Path) -> None:
    """`aforo spool send DIR` delivers what dead processes of any key left, and removes it; `list` shows it
    before.
    """
    run("write('of one')", environment(spool, NOWHERE, AFORO_API_KEY="one"))
    run("write('of two'); write('of two again')", environment(spool, NOWHERE, AFORO_API_KEY="two"))
    env = environment(spool, NOWHERE)
    listed = json.loads(aforo("spool", "list", str(spool), "--format", "json", env=env).stdout)
    assert [(row["spans"], row["inUse"]) for row in listed] == [(1, False), (2, False)]
    assert aforo("spool", "send", str(spool), env=env).returncode == 5
    done = aforo("spool", "send", str(spool), "--endpoint", sink.url, "--api-key", "mine", env=env)
    assert (done.returncode, done.stdout) == (0, "3 delivered, 0 set aside, 0 left\n")
    assert sink.names == ["of one", "of two", "of two again"]
    assert {got.headers["X-API-Key"] for got in sink.requests} == {"mine"}
    assert json.loads(aforo("spool", "list", str(spool), "--format", "json", env=env).stdout) == []


def test_spool_send_leaves_the_living_alone(sink: Sink, spool: Path) -> None:
    """Segments of a process that still runs are its own to deliver."""
    program = """
import subprocess
write("mine")
command = "import sys; from aforo_sdk.cli import main; sys.exit(main())"
done = subprocess.run([sys.executable, "-c", command, "spool", "send", "--endpoint", os.environ["OTHER"]])
print(done.returncode)
"""
    out, _ = run(program, environment(spool, NOWHERE, OTHER=sink.url))
    assert "0 delivered, 0 set aside, 1 left" in out
    assert out.endswith("5\n")
    assert sink.names == []


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    """Exit code 3, and nothing is made."""
    done = aforo("spool", "list", str(tmp_path / "none"), env=environment(tmp_path, NOWHERE))
    assert done.returncode == 3
    assert "there is no folder" in done.stderr
