"""kill -9 during an upload, or a plain stop: the job goes on where it was committed, no row is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import zstandard

from tests.collector.running import Running

from .sending import ago, ended, events, send

ROWS = 16_000
BAD = range(0, ROWS, 500)


def content(form: str) -> bytes:
    """A file of many rows, with a key each or none, and some that are bad; packed where the form says so."""
    when = ago(days=1)
    if form == "csv":
        lines = [f"{'x' if n in BAD else 1},{when},kill,api_calls" for n in range(ROWS)]
        return "\n".join(["quantity,timestamp,customer,metric", *lines, ""]).encode()
    lines = [
        f'{{"idempotencyKey":"k{n:x}","quantity":{-1 if n in BAD else 1},"customerId":"kill","metricName":"api_calls"'
        f',"occurredAt":"{when}"}}'
        for n in random.Random(1).sample(range(ROWS), ROWS)
    ]
    return zstandard.compress("\n".join(lines).encode())


def interrupted(folder: Path, form: str, how: int, times: int, seed: int) -> None:
    """Upload a file; end the collector again and again while it works on it; look at the books."""
    source = random.Random(seed)
    flags = ("--dev", "--data", str(folder))
    collector = Running(*flags)
    try:
        answer = send(collector, f"a.{form}", content(form))
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["data"]["jobId"]
        caught = 0
        for _ in range(times):
            time.sleep(source.uniform(0.0, 0.1))
            job = collector.data(f"/v1/uploads/{job_id}")
            caught += job["finishedAt"] is None
            collector.process.send_signal(how)
            collector.process.wait(20)
            collector.stop()
            collector = Running(*flags)
        assert caught, "the collector was ended at work"
        job = ended(collector, job_id)
        good = ROWS - len(BAD)
        assert job["state"] == "PARTIAL"
        assert job["totals"] == {
            "received": ROWS, "recorded": good, "duplicates": 0, "conflicts": 0, "rejected": len(BAD),
        }  # fmt: skip
        found = events(collector, "kill")
        assert len(found) == good
        assert set(found.values()) == {"1"}
        balance = collector.data("/v1/intake/balance")
        assert (balance["received"], balance["recorded"], balance["rejected"]) == (ROWS, good, len(BAD))
        assert [path.name for path in (folder / "uploads").iterdir()] == []
        _take_back(collector, flags, job_id, good)
    finally:
        collector.stop()


def _take_back(collector: Running, flags: tuple[str, ...], job_id: str, good: int) -> None:
    """The same for taking the job back."""
    assert collector.http.post(f"/v1/uploads/{job_id}/revert").status_code == 202
    time.sleep(0.2)
    assert collector.kill() == -signal.SIGKILL
    again = Running(*flags)
    try:
        assert ended(again, job_id)["reversal"] == {"state": "REVERTED", "takenBack": good}
        assert events(again, "kill") == {}
    finally:
        again.stop()


@pytest.mark.parametrize(
    ("form", "how"), [("csv", signal.SIGKILL), ("ndjson", signal.SIGKILL), ("csv", signal.SIGTERM)]
)
def test_an_interrupted_job_ends_as_if_it_had_not_been(
    tmp_path: Path, form: str, how: signal.Signals
) -> None:
    """Ended four times at random moments; every row is counted and recorded once."""
    interrupted(tmp_path / "data", form, how, 4, seed=int(os.environ.get("AFORO_CRASH_SEED", "1")))


def test_a_file_that_was_not_answered_leaves_nothing(tmp_path: Path) -> None:
    """A file whose end never came is gone with the next start, and no job knows of it."""
    collector = Running("--dev", "--data", str(tmp_path))
    (tmp_path / "uploads" / "upl_x.part").write_bytes(b"half")
    (tmp_path / "uploads" / "upl_y").write_bytes(b"renamed, and then the power went")
    collector.kill()
    collector = Running("--dev", "--data", str(tmp_path))
    try:
        assert collector.data("/v1/uploads") == []
        assert list((tmp_path / "uploads").iterdir()) == []
    finally:
        collector.stop()
