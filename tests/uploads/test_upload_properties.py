"""However rows are cut into files, ordered, repeated and interrupted: the same events."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.app import opened
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.upload import Upload
from aforo_collector.service import upload_jobs
from aforo_collector.service.uploads import Uploads
from aforo_collector.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st

TIMEOUT_S = 30
NOW_NS = time.time_ns()
ROW = st.tuples(
    st.integers(0, 6),  # key: 0 has none
    st.sampled_from(["acme", "beta", ""]),
    st.sampled_from(["api_calls", "nope"]),
    st.sampled_from(["1", "2.5", "-1", "x"]),
)


def quiet(_: str) -> None:
    """Tell nobody."""


def csv_of(rows: list[tuple[int, str, str, str]]) -> bytes:
    """A file of rows."""
    lines = [
        f"{(key and f'k{key}') or ''},{customer},{metric},{quantity}"
        for key, customer, metric, quantity in rows
    ]
    return "\n".join(["event_id,customer,metric,quantity", *lines, ""]).encode()


def uploaded(uploads: Uploads, content: bytes, caller: Identity = NOBODY) -> Any:
    """The progress of an upload at its end."""
    upload_id, incoming = uploads.receive()
    incoming.write([content])
    form, digest, size = uploads.examine(incoming, "a.csv")
    upload = Upload(upload_id, 1, "a.csv", form, digest, len(content), size, NOW_NS, caller=caller)
    job, _ = uploads.queue(upload, incoming)
    deadline = time.monotonic() + TIMEOUT_S
    while not job.progress.is_over:
        assert time.monotonic() < deadline
        time.sleep(0.001)
        found = uploads.find(1, job.upload.upload_id)
        assert found is not None
        job = found
    return job.progress


def recorded(collector: Any) -> list[tuple[Any, ...]]:
    """The events there are, but for when they were recorded."""
    page = collector.app.state.desk.reading.usage_events(
        1, customer_id=None, metric_name=None, session_id=None, trace_id=None, cursor=None, limit=1000,
        corrections=False,
    )  # fmt: skip
    return sorted(
        (e["idempotencyKey"], e["customerId"], e["metricName"], e["quantity"]) for e in page["items"]
    )


@settings(max_examples=12)
@given(st.lists(ROW, min_size=1, max_size=30), st.integers(1, 5), st.randoms(), st.data())
def test_rows_in_any_order_and_any_files_are_the_same_events(
    rows: list[tuple[int, str, str, str]], cuts: int, source: Any, data: st.DataObject
) -> None:
    """With a key of their own rows are the same event wherever they stand; the first that can be recorded stands."""
    keyed = list({row[0]: (row[0], *row[1:]) for row in rows if row[0]}.values())
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(upload_jobs, "STRETCH_ROWS", data.draw(st.integers(1, 8)))
        wanted: list[tuple[Any, ...]] | None = None
        for turn in range(2):
            given = list(keyed)
            source.shuffle(given)
            parts = [given[n::cuts] for n in range(cuts)] + [given]
            with opened(Settings(data=Path(folder) / str(turn), dev=True), quiet) as collector:
                for part in parts:
                    progress = uploaded(collector.app.state.desk.uploads, csv_of(part))
                    assert progress.received == len(part)
                    assert progress.received == (
                        progress.recorded + progress.duplicates + progress.conflicts + progress.rejected
                    )
                found = recorded(collector)
            with opened(Settings(data=Path(folder) / str(turn), dev=True), quiet) as collector:
                again = uploaded(collector.app.state.desk.uploads, csv_of(given) + b"\n")
                assert again.recorded == 0
                assert recorded(collector) == found
            assert wanted is None or found == wanted
            wanted = found
        valid = sum(bool(c) and m == "api_calls" and q in ("1", "2.5") for _, c, m, q in keyed)
        assert wanted is not None
        assert len(wanted) == valid


@settings(max_examples=12)
@given(st.lists(ROW, min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 3))
def test_a_job_that_is_stopped_anywhere_ends_the_same(
    rows: list[tuple[int, str, str, str]], stretch: int, stops: int
) -> None:
    """Rows without a key are told by file and line: stopping and starting in between changes nothing."""
    content = csv_of(rows)
    outcomes = []
    for interrupted in (False, True):
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
            patch.setattr(upload_jobs, "STRETCH_ROWS", stretch)
            patch.setattr(upload_jobs, "STRETCH_BLOCKS", 1)
            settings_ = Settings(data=Path(folder), dev=True)
            if interrupted:
                with opened(settings_, quiet) as collector:
                    uploads = collector.app.state.desk.uploads
                    uploads.stop()
                    upload_id, incoming = uploads.receive()
                    incoming.write([content])
                    form, digest, size = uploads.examine(incoming, "a.csv")
                    upload = Upload(upload_id, 1, "a.csv", form, digest, len(content), size, NOW_NS)
                    uploads.queue(upload, incoming)
                for _ in range(stops):
                    with opened(settings_, quiet):
                        pass
            with opened(settings_, quiet) as collector:
                progress = uploaded(collector.app.state.desk.uploads, content)
                books = (progress.received, progress.recorded, progress.duplicates, progress.conflicts,
                         progress.rejected, dict(progress.errors), progress.state)  # fmt: skip
                outcomes.append((books, recorded(collector)))
    assert outcomes[0] == outcomes[1]


def test_a_credential_says_who_pays_whatever_a_file_says(tmp_path: Path) -> None:
    """Rows of an upload under a customer's credential are that customer's, as on every other way in."""
    rows = [(1, "acme", "api_calls", "1"), (2, "", "api_calls", "2"), (3, "beta", "api_calls", "3")]
    with opened(Settings(data=tmp_path, dev=True), quiet) as collector:
        progress = uploaded(collector.app.state.desk.uploads, csv_of(rows), Identity("beta"))
        assert progress.recorded == len(rows)
        assert {customer for _, customer, _, _ in recorded(collector)} == {"beta"}
