"""Uploads from the form to the books, against a real collector."""

from __future__ import annotations

import gzip
import html.parser
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.collector.running import Running, Start

from .sending import ago, ended, events, send, upload

CLEAN = {"recorded": 0, "duplicates": 0, "conflicts": 0, "rejected": 0}


def csv_of(customer: str, *quantities: str, metric: str = "api_calls", key: str = "") -> bytes:
    """A file of one row for each quantity."""
    lines = [
        f"{key and f'{key}{n}'},{ago(minutes=n + 1)},{customer},{metric},{q}"
        for n, q in enumerate(quantities)
    ]
    return "\n".join(["event_id,event_timestamp,customer_id,metric_id,quantity", *lines, ""]).encode()


def ndjson_of(customer: str, *quantities: Any, metric: str = "api_calls", **more: Any) -> bytes:
    """The same as NDJSON."""
    rows = [
        {
            "customerId": customer,
            "metricName": metric,
            "quantity": q,
            "occurredAt": ago(minutes=n + 1),
            **more,
        }
        for n, q in enumerate(quantities)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("name", ["five.csv", "five.ndjson"])
def test_three_good_rows_and_two_bad_ones(collector: Running, name: str) -> None:
    """PARTIAL, with the lines of the bad ones; the same file again, packed or not, is the same job and no row more."""
    customer = f"five-{name}"
    if name.endswith("csv"):
        data, first = csv_of(customer, "1", "-2", "3.50", "x", "5"), 2
    else:
        data, first = ndjson_of(customer, 1, -2, 3.5, "x", 5), 1
    job = upload(collector, name, data, rowCount="6")
    assert job["state"] == "PARTIAL"
    assert job["totals"] == {"received": 5, **CLEAN, "recorded": 3, "rejected": 2}
    assert job["errors"] == {"INVALID_QUANTITY": 2}
    assert job["warnings"] == ["the sender announced 6 rows, and the file has 5"]
    rows = collector.data(f"/v1/uploads/{job['jobId']}/report")["rows"]
    assert [(row["line"], row["code"], row["field"]) for row in rows] == [
        (first + 1, "INVALID_QUANTITY", "quantity"),
        (first + 3, "INVALID_QUANTITY", "quantity"),
    ]
    assert rows[0]["raw"] == data.decode().splitlines()[first]
    assert sorted(events(collector, customer).values()) == ["1", "3.5", "5"]

    for packed in (data, gzip.compress(data), zstandard.compress(data)):
        again = send(collector, name, packed)
        assert (again.status_code, again.json()["meta"]) == (202, {"repeated": True})
        assert again.json()["data"]["jobId"] == job["jobId"]
    other = upload(collector, name, data, defaultMetricName="tool_calls")
    assert other["jobId"] != job["jobId"]
    assert other["totals"] == {"received": 5, **CLEAN, "duplicates": 3, "rejected": 2}
    assert len(events(collector, customer)) == 3


def test_rejected_rows_come_back_as_they_came_and_are_mended(collector: Running) -> None:
    """The file of rejected rows has the header and the rows byte for byte; mended, it is a file like any other."""
    header = "\ufeffevent_id,customer_id,metric_id,quantity,note\r\n".encode()
    bad = b'r2,mend,nope,2,"=cmd|\n ""x"""\r\nr3,mend,api_calls,two,\xff\r\n'
    job = upload(collector, "a.csv", header + b"r1,mend,api_calls,1,ok\r\n" + bad + b"r4,mend,api_calls,4,ok")
    answer = collector.http.get(f"/v1/uploads/{job['jobId']}/rejected")
    assert answer.content == header + bad
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{job["jobId"]}-rejected.csv"'
    mended = answer.content.replace(b"nope", b"api_calls").replace(b"two", b"3").replace(b"\xff", b"")
    assert upload(collector, "b.csv", mended)["state"] == "COMPLETED"
    assert events(collector, "mend") == {"r1": "1", "r2": "2", "r3": "3", "r4": "4"}


def test_a_dry_run_says_what_the_run_then_does(collector: Running) -> None:
    """The same report, by the same validator, with keys that stand in the file twice; and nothing is recorded."""
    known = ndjson_of("dry", 1, idempotencyKey="dry-known")
    upload(collector, "known.ndjson", known)
    new = ndjson_of("dry", 7, idempotencyKey="dry-new")
    data = (
        known
        + known.replace(b'"quantity": 1', b'"quantity": 2')
        + b"{\n"
        + new * 2
        + ndjson_of("dry", *[1] * 5_000)
        + new.replace(b": 7,", b": 7.0,").replace(b"quantity", b"value")
        + ndjson_of("dry", 8, idempotencyKey="dry-new")
        + ndjson_of("dry", 1, metric="nope")
    )
    tried = upload(collector, "a.ndjson", data, dryRun="true")
    assert len(events(collector, "dry")) == 1
    done = upload(collector, "a.ndjson", data)
    assert (tried["dryRun"], done["dryRun"]) == (True, False)
    assert done["totals"] == {
        "received": 5_008, "recorded": 5_001, "duplicates": 3, "conflicts": 2, "rejected": 2,
    }  # fmt: skip
    for field in ("state", "totals", "errors", "sha256", "processedBytes"):
        assert tried[field] == done[field], field
    rows = [
        [
            (row["line"], row["code"], row["raw"])
            for row in collector.data(f"/v1/uploads/{job['jobId']}/report")["rows"]
        ]
        for job in (tried, done)
    ]
    assert rows[0] == rows[1]
    assert len(events(collector, "dry")) == 5_002


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u2003 "])
@pytest.mark.parametrize("name", ["blank.csv", "blank.ndjson"])
def test_a_blank_key_is_none(collector: Running, name: str, blank: str) -> None:
    """A row whose key is blank is its file and line: read in another way, it is a duplicate all the same."""
    customer = f"{name}-{blank.encode().hex()}"
    line = f"{customer},api_calls,1,{blank}\n"
    row = {"customerId": customer, "metricName": "api_calls", "quantity": 1, "event_id": blank}
    data = f"customerId,metricName,quantity,event_id\n{line}" if name.endswith("csv") else json.dumps(row)
    assert upload(collector, name, data.encode())["totals"]["recorded"] == 1
    assert upload(collector, name, data.encode(), backfillDays="1")["totals"]["duplicates"] == 1
    assert list(events(collector, customer).values()) == ["1"]


def test_a_job_is_taken_back_whole_and_once(collector: Running) -> None:
    """Its events, no other's; again is the same; the file may then be uploaded anew, and counts anew."""
    upload(collector, "other.ndjson", ndjson_of("back", 1, 2))
    data = csv_of("back", *["3"] * 1_200)
    job = upload(collector, "a.csv", data)
    assert len(events(collector, "back")) == 1_202
    for _ in range(2):
        answer = collector.http.post(f"/v1/uploads/{job['jobId']}/revert")
        assert answer.status_code == 202
        assert ended(collector, job["jobId"])["reversal"] == {"state": "REVERTED", "takenBack": 1_200}
        assert sorted(events(collector, "back").values()) == ["1", "2"]
    again = upload(collector, "a.csv", data)
    assert again["jobId"] != job["jobId"]
    assert again["totals"] == {"received": 1_200, **CLEAN, "recorded": 1_200}
    assert len(events(collector, "back")) == 1_202


def revert(collector: Running, job: dict[str, Any]) -> None:
    """Take a job back, and wait for it."""
    assert collector.http.post(f"/v1/uploads/{job['jobId']}/revert").status_code == 202
    ended(collector, job["jobId"])


def test_what_stands_of_a_file_does_not_count_twice(collector: Running) -> None:
    """While rows of a file stand under another upload of it, taking one back lets nothing be billed again."""
    data = b"customerId,metricName,quantity\npart,api_calls,1\n,api_calls,2\n"
    first = upload(collector, "part.csv", data)
    rest = upload(collector, "part.csv", data, defaultCustomerId="part")
    assert (first["totals"]["recorded"], rest["totals"]["recorded"]) == (1, 1)
    for fruitless in (
        upload(collector, "part.csv", data, dryRun="true"),
        upload(collector, "part.csv", data, defaultCustomerId="part", backfillDays="1"),
    ):
        revert(collector, fruitless)
        again = upload(collector, "part.csv", data, defaultCustomerId="part")
        assert again["jobId"] == rest["jobId"], "nothing of it was taken back"
    revert(collector, first)
    answer = send(collector, "part.csv", data, defaultCustomerId="part")
    assert (answer.status_code, answer.json()["code"]) == (409, "PARTLY_TAKEN_BACK")
    assert rest["jobId"] in answer.json()["detail"]
    assert sorted(events(collector, "part").values()) == ["2"]
    revert(collector, rest)
    assert upload(collector, "part.csv", data, defaultCustomerId="part")["totals"]["recorded"] == 2
    assert upload(collector, "part.csv", data)["totals"]["duplicates"] == 1
    assert sorted(events(collector, "part").values()) == ["1", "2"]


def test_rows_in_quarantine_are_taken_back_too(start: Start) -> None:
    """What conditions kept out leaves with its upload, replayed from the quarantine or not, and then counts once."""
    collector = start("--dev")
    condition = {"field": "tier", "operator": "EQUALS", "value": "paid"}

    def units(*conditions: dict[str, str]) -> None:
        unit = {"name": "reads", "filter": list(conditions)} if conditions else {"name": "reads"}
        assert collector.http.put("/v1/catalog", json={"billable_units": [unit]}).status_code == 200

    units(condition)
    data = b"customerId,metricName,quantity,tier\nkept,reads,1,paid\nkept,reads,2,free\nkept,reads,3,free\n"
    job = upload(collector, "kept.csv", data)
    assert list(events(collector, "kept").values()) == ["1"]
    units()
    _, second = (item["quarantineId"] for item in collector.data("/v1/intake/quarantine"))
    replayed = collector.http.post(f"/v1/intake/quarantine/{second}/replay", json={}).json()["data"]
    assert replayed["outcome"] == "recorded"
    assert sorted(events(collector, "kept").values()) == ["1", "2"]
    revert(collector, job)
    assert (events(collector, "kept"), collector.data("/v1/intake/quarantine")) == ({}, [])
    upload(collector, "kept.csv", data)
    assert sorted(events(collector, "kept").values()) == ["1", "2", "3"]


def test_a_job_says_when_its_events_occurred(collector: Running) -> None:
    """First and last moment are those of the events that were recorded."""
    first, last = ago(days=80), ago(minutes=1)
    rows = [("when", last), ("when", first), ("when", ago(days=3)), ("", ago(days=85))]
    data = "\n".join(["customer,metric,quantity,timestamp", *(f"{c},api_calls,1,{t}" for c, t in rows)])
    job = upload(collector, "a.csv", data.encode())
    assert job["firstOccurredAt"][:19] == first[:19]
    assert job["lastOccurredAt"][:19] == last[:19]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.csv", b"", "UNREADABLE_HEADER"),
        ("empty.ndjson", b"\n\n", "NO_ROWS"),
        ("only.csv", b"customer,metric,quantity\n", "NO_ROWS"),
        ("no-header.csv", b"acme,api_calls,1\n", "UNREADABLE_HEADER"),
        ("wide.csv", "customer,metric,quantity\n".encode("utf-16"), "UNREADABLE_HEADER"),
        ("binary.ndjson", bytes(range(256)), "NO_USABLE_ROWS"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_fails(
    collector: Running, name: str, content: bytes, code: str
) -> None:
    """FAILED, with a reason; and it may be tried again."""
    job = upload(collector, name, content)
    assert (job["state"], job["problem"]["code"]) == ("FAILED", code)
    assert job["totals"]["recorded"] == 0
    assert upload(collector, name, content)["jobId"] != job["jobId"]


@pytest.mark.parametrize(
    ("status", "code", "content", "fields"),
    [
        (422, "DAMAGED_FILE", gzip.compress(b"customer,metric,quantity\n" * 9)[:-9], {}),
        (422, "UNSUPPORTED_FILE", b"PK\x03\x04.......", {}),
        (413, "FILE_TOO_LARGE", zstandard.compress(bytes(41_000_000)), {}),
        (413, "BODY_TOO_LARGE", b"x" * 1_000_001, {}),
        (413, "BODY_TOO_LARGE", b"x" * 3_000_000, {}),
        (422, "INVALID_PARAMETER", b"", {"dryRun": "maybe"}),
        (422, "INVALID_PARAMETER", b"", {"rowCount": "-1"}),
        (422, "INVALID_PARAMETER", b"", {"rowCount": "9" * 5_000}),
        (422, "INVALID_PARAMETER", b"", {"columnMap": "[1]"}),
        (422, "INVALID_PARAMETER", b"", {"columnMap": "[" * 10_000}),
        (422, "INVALID_PARAMETER", b"", {"columnMap": '{"a":"nothing"}'}),
        (422, "INVALID_PARAMETER", b"", {"defaultCustomerId": "c" * 65}),
        (422, "INVALID_PARAMETER", b"", {"defaultMetricName": "a\u0000b"}),
        (400, "MALFORMED_BODY", b"", {"dryrun": "true"}),
    ],
    ids=lambda value: str(len(value) if isinstance(value, bytes) else value)[
        :40
    ],  # packed, it holds the time
)
def test_what_cannot_be_an_upload_is_refused_and_leaves_nothing(
    collector: Running, status: int, code: str, content: bytes, fields: dict[str, str]
) -> None:
    """A clear answer at once, no job, and no file left behind."""
    jobs = len(collector.data("/v1/uploads", limit=1000))
    answer = send(collector, "a.csv", content, **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert len(collector.data("/v1/uploads", limit=1000)) == jobs


def test_no_form_is_no_upload(collector: Running) -> None:
    """Another content type, a form that ends early, and one without a file."""
    post = collector.http.post
    assert post("/v1/ingest/upload", content=b"a,b", headers={"Content-Type": "text/csv"}).status_code == 415
    boundary = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"", b"--b\r\n", b"--b--\r\n", b"nonsense"):
        answer = post("/v1/ingest/upload", content=body, headers=boundary)
        assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_BODY")


class _Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_harmless_whatever_the_file_says(collector: Running, tmp_path: Path) -> None:
    """Markup stays text, nothing is loaded, formulas stay text; the name is a label and opens nothing."""
    name = "../../<script>alert(1)</script>.csv"
    rows = b'=1+1,evil,api_calls,x,"<img src=x onerror=alert(1)>"\n@sum,evil,api_calls,y,</table><script>\n'
    job = upload(collector, name, b"event_id,customer,metric,quantity,note\n" + rows)
    assert job["fileName"] == "script>.csv"
    answer = collector.http.get(f"/v1/uploads/{job['jobId']}/report.html")
    page = _Page(answer.text)
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert "'=1+1,evil" in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert collector.http.get(f"/v1/uploads/{job['jobId']}/rejected").content.endswith(rows)


def test_reports_and_lists_come_in_pages(collector: Running) -> None:
    """Every refused row is in exactly one page, in the order of the lines; jobs come latest first."""
    job = upload(collector, "a.ndjson", b"[]\n\n" * 2_500)
    path = f"/v1/uploads/{job['jobId']}/report"
    lines: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = collector.http.get(
            path, params={"limit": 999, **({"cursor": cursor} if cursor else {})}
        ).json()
        lines += [row["line"] for row in answer["data"]["rows"]]
        cursor = answer["meta"]["nextCursor"]
    assert lines == list(range(1, 5_000, 2))
    first = collector.http.get("/v1/uploads", params={"limit": 1}).json()
    assert first["data"][0]["jobId"] == job["jobId"]
    second = collector.http.get(
        "/v1/uploads", params={"limit": 1, "cursor": first["meta"]["nextCursor"]}
    ).json()
    assert second["data"][0]["jobId"] != job["jobId"]
    for bad in ("x", "LTE"):
        assert collector.http.get(path, params={"cursor": bad}).status_code == 422


def test_a_job_is_its_tenants_own(start: Start) -> None:
    """Without a key nothing is read or taken; an unknown job is not found."""
    collector = start()
    key = {"X-API-Key": next(line for line in collector.said if "sk_live_" in line).split()[-1]}
    http = collector.http
    assert http.post("/v1/ingest/upload", files={"file": ("a.csv", b"")}).status_code == 401
    for path in ("", "/upl_x", "/upl_x/report", "/upl_x/report.html", "/upl_x/rejected"):
        assert http.get(f"/v1/uploads{path}").status_code == 401
        assert http.get(f"/v1/uploads{path}", headers=key).status_code == (404 if path else 200)
    assert http.post("/v1/uploads/upl_x/revert").status_code == 401
    assert http.post("/v1/uploads/upl_x/revert", headers=key).status_code == 404


def command(collector: Running, *words: str) -> subprocess.CompletedProcess[str]:
    """`aforo upload …`."""
    run = "import sys; from aforo_collector.cli.upload import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", run, *words, "--endpoint", collector.url],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_uploads_reports_and_fetches_what_was_rejected(
    collector: Running, tmp_path: Path
) -> None:
    """0 when everything is recorded, 1 when not, 2 for what makes no sense; data on stdout."""
    file, rejected = tmp_path / "a.csv", tmp_path / "rejected.csv"
    file.write_text("Kunde,Menge\ncli,1\ncli,=2\n")
    flags = ("--map", "Kunde=customer", "--map", "Menge=quantity", "--metric", "api_calls")
    tried = command(collector, str(file), *flags, "--dry-run", "--format", "json")
    assert (tried.returncode, json.loads(tried.stdout)["totals"]["recorded"]) == (1, 1)
    done = command(collector, str(file), *flags, "--rejected", str(rejected))
    assert done.returncode == 1
    assert "INVALID_QUANTITY" in done.stdout
    assert rejected.read_text() == "Kunde,Menge\ncli,=2\n"
    rejected.write_text(rejected.read_text().replace("=", ""))
    mended = command(collector, str(rejected), *flags, "--format", "ndjson")
    assert (mended.returncode, json.loads(mended.stdout)["state"]) == (0, "COMPLETED")
    again = command(collector, str(file), *flags, "--format", "csv")
    assert again.returncode == 1
    assert again.stdout.splitlines()[0] == "line,idempotencyKey,field,code,message,raw,rawCut"
    assert "nothing was recorded again" in again.stderr
    assert command(collector, str(file), "--map", "Kunde").returncode == 2
    assert command(collector, str(tmp_path / "none")).returncode == 2
    assert sorted(events(collector, "cli").values()) == ["1", "2"]
