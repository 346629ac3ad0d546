"""`aforo upload FILE`: a file of usage events, sent with a progress bar, and the report on its rows."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aforo_collector.views.upload import harmless

from .client import Client, asking
from .exits import FAILED, OK, USAGE, Failure, run
from .printing import formatted, print_list, print_one, print_table, visible

if TYPE_CHECKING:
    from rich.progress import Progress

POLL_S = 0.1
ROWS_SHOWN_MAX = 20
PAGE_LENGTH = 1_000
_FACTS = (
    "jobId", "state", "dryRun", "format", "sha256", "firstOccurredAt", "lastOccurredAt",
)  # fmt: skip
_ROW = ("line", "code", "field", "message", "raw")


def main(argv: list[str]) -> int:
    """Upload a CSV or NDJSON file of usage events, and report on every row that cannot be recorded."""
    return run(upload, "upload", argv)


@click.command(help=main.__doc__)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would become of the rows.")
@click.option(
    "--map", "columns", multiple=True, metavar="NAME=FIELD", help="What a column of the file is; repeatable."
)
@click.option("--metric", help="Metric of rows that name none.")
@click.option("--customer", help="Customer of rows that name none.")
@click.option("--backfill-days", type=click.IntRange(1), help="How many days ago rows may lie, beyond 90.")
@click.option(
    "--rejected",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the rows that are not recorded to this file, to mend and to send again.",
)
@formatted
@asking
def upload(
    client: Client,
    file: Path,
    dry_run: bool,
    columns: tuple[str, ...],
    metric: str | None,
    customer: str | None,
    backfill_days: int | None,
    rejected: Path | None,
    shape: str,
) -> int:
    """Send, wait, report; 0 when every row is recorded (or was before), 1 when not."""
    fields = {
        "dryRun": "true" if dry_run else None,
        "columnMap": json.dumps(_column_map(columns)) if columns else None,
        "defaultMetricName": metric,
        "defaultCustomerId": customer,
        "backfillDays": None if backfill_days is None else str(backfill_days),
    }
    with _progress() as progress:
        answer = _send(
            client, file, {name: value for name, value in fields.items() if value is not None}, progress
        )
        job = _wait(client, answer["data"], progress)
    if answer["meta"].get("repeated"):
        print(
            f"this file was uploaded before, as {job['jobId']}; nothing was recorded again", file=sys.stderr
        )
    if rejected is not None:
        with rejected.open("wb") as target:
            client.download(f"/v1/uploads/{job['jobId']}/rejected", target)
    _print(client, job, shape)
    return OK if job["state"] == "COMPLETED" else FAILED


def _column_map(columns: Sequence[str]) -> dict[str, str]:
    found = {}
    for said in columns:
        name, equals, field = said.rpartition("=")
        if not equals or not name or not field:
            raise Failure(USAGE, f"--map {said!r} is not like NAME=FIELD; nothing was sent")
        found[name] = field
    return found


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        yield progress


def _send(client: Client, file: Path, fields: Mapping[str, str], progress: Progress) -> dict[str, Any]:
    with progress.open(file, "rb", description="sending") as content:
        return client.upload("/v1/ingest/upload", file.name, content, fields)


def _wait(client: Client, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    task = progress.add_task("recording", total=job["unpackedBytes"])
    while job["finishedAt"] is None:
        time.sleep(POLL_S)
        job = client.get(f"/v1/uploads/{job['jobId']}")
        progress.update(task, completed=job["processedBytes"])
    return job


def _rows(client: Client, job: Mapping[str, Any], count_max: int | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while count_max is None or len(rows) < count_max:
        answer = client.page(f"/v1/uploads/{job['jobId']}/report", cursor=cursor, limit=PAGE_LENGTH)
        rows += answer["data"]["rows"]
        cursor = answer["meta"]["nextCursor"]
        if cursor is None:
            break
    return rows[:count_max]


def _print(client: Client, job: dict[str, Any], shape: str) -> None:
    if shape == "table":
        _print_tables(client, job)
    elif shape == "csv":
        print_list(_rows(client, job, None), shape, _ROW)
    else:
        print_one({**job, "rows": _rows(client, job, None)}, shape)


def _print_tables(client: Client, job: Mapping[str, Any]) -> None:
    facts = [[name, str(job[name])] for name in _FACTS if job[name] not in (None, False)]
    print_table(("field", "value"), facts + [[name, str(count)] for name, count in job["totals"].items()])
    for said in [*([job["problem"]["message"]] if job["problem"] else []), *job["warnings"]]:
        print(visible(said), file=sys.stderr)
    if not job["errors"]:
        return
    print()
    by_count = sorted(job["errors"].items(), key=lambda item: (-item[1], item[0]))
    print_table(("code", "rows"), [[code, str(count)] for code, count in by_count])
    rows = _rows(client, job, ROWS_SHOWN_MAX)
    print()
    print_table(_ROW, [[visible(str(_safe(row[name] or ""))) for name in _ROW] for row in rows])
    more = sum(job["errors"].values()) - len(rows)
    if more > 0:
        print(f"and {more} more rows; --rejected FILE or --format json has all", file=sys.stderr)


def _safe(value: Any) -> Any:
    return harmless(value) if isinstance(value, str) else value
