"""Uploads: files of usage events, each worked off by a job that knows how far it is.

    QUEUED ─► PROCESSING ─► COMPLETED | PARTIAL | FAILED

A job has what was asked for, which never changes, and its progress, which is committed together with the
events that it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from .identity import NOBODY, Identity
from .submission import CONFLICT, REJECTED, WINDOW_NS, Fate, IntakeReport

QUEUED: Final = "QUEUED"
PROCESSING: Final = "PROCESSING"
COMPLETED: Final = "COMPLETED"
PARTIAL: Final = "PARTIAL"
FAILED: Final = "FAILED"
REVERTING: Final = "REVERTING"
REVERTED: Final = "REVERTED"
_DAY_NS: Final = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """What was asked for. `digest` is the SHA-256 of the unpacked file in hex, sizes are in bytes.

    `columns` has the field of a usage event by the name that the file uses; `metric` and `customer` are for
    rows that say none, "" for no default. `rows_declared` is how many rows the sender says there are, None if
    it does not say. `generation` counts the uploads of the same file that were taken back before.
    """

    upload_id: str
    tenant_no: int
    file_name: str
    form: str
    digest: str
    size_bytes: int
    unpacked_bytes: int
    created_ns: int
    columns: Mapping[str, str] = field(default_factory=dict)
    metric: str = ""
    customer: str = ""
    backfill_days: int = 0
    dry_run: bool = False
    rows_declared: int | None = None
    caller: Identity = NOBODY
    generation: int = 0

    @property
    def origin(self) -> str:
        """What the keys begin with that its rows are given: half of a digest is enough to tell files apart.

        The same file under the credentials of two customers is different usage.
        """
        owner = f"@{self.caller.customer_id}" if self.caller.customer_id else ""
        return f"upload:{self.digest[:32]}" + (f".{self.generation}" if self.generation else "") + owner

    @property
    def window_ns(self) -> tuple[int, int]:
        """How far in the past and in the future its rows may lie."""
        past_ns, future_ns = WINDOW_NS
        return max(past_ns, self.backfill_days * _DAY_NS), future_ns

    @property
    def wish(self) -> tuple[object, ...]:
        """What makes a second upload the same as this one, beside its tenant."""
        return (
            self.digest, self.form, sorted(self.columns.items()), self.metric, self.customer, self.backfill_days,
            list(self.caller), self.generation,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: everything before `offset` and `line` is committed.

    received = recorded + duplicates + conflicts + rejected. `first_ns` and `last_ns` are when the recorded
    events occurred, 0 for none. `errors` counts rows by the code of what is wrong with them. `problem` is why
    a job failed, `header` what stands in the file before its first row. `reversal` is REVERTING or REVERTED
    once the job is taken back, `taken_back` how many of its events are, and `recalled_no` the last of their
    numbers.
    """

    state: str = QUEUED
    offset: int = 0
    line: int = 1
    received: int = 0
    recorded: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    first_ns: int = 0
    last_ns: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    problem_code: str = ""
    problem: str = ""
    header: bytes = b""
    started_ns: int = 0
    finished_ns: int = 0
    reversal: str = ""
    taken_back: int = 0
    recalled_no: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the rows are worked off."""
        return self.state not in (QUEUED, PROCESSING)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to do."""
        return not self.is_over or self.reversal == REVERTING

    def after(self, report: IntakeReport, offset: int, line: int) -> Progress:
        """The progress once a stretch of rows has been taken in."""
        errors = Counter(self.errors)
        errors.update(fate.refusal.code for fate in refused(report.fates) if fate.refusal is not None)
        return replace(
            self,
            offset=offset,
            line=line,
            received=self.received + report.received,
            recorded=self.recorded + report.recorded,
            duplicates=self.duplicates + report.duplicates,
            conflicts=self.conflicts + report.conflicts,
            rejected=self.rejected + report.rejected,
            errors=dict(sorted(errors.items())),
        )

    def during(self, first_ns: int, last_ns: int) -> Progress:
        """The progress with more events that occurred from `first_ns` to `last_ns`."""
        return replace(
            self,
            first_ns=min(self.first_ns, first_ns) if self.first_ns else first_ns,
            last_ns=max(self.last_ns, last_ns),
        )

    def failed(self, code: str, why: str, now_ns: int) -> Progress:
        """The progress of a job that cannot go on."""
        return replace(self, state=FAILED, problem_code=code, problem=why, finished_ns=now_ns)

    def finished(self, now_ns: int) -> Progress:
        """The progress at the end of the file."""
        if not self.received:
            return self.failed("NO_ROWS", "the file has no rows; nothing was recorded", now_ns)
        useful = self.recorded + self.duplicates
        if not useful:
            why = f"none of the {self.received} rows can be recorded; the report says why, row by row"
            return self.failed("NO_USABLE_ROWS", why, now_ns)
        state = COMPLETED if useful == self.received else PARTIAL
        return replace(self, state=state, finished_ns=now_ns)


@dataclass(frozen=True, slots=True)
class Job:
    """An upload and its progress; `job_no` counts up."""

    job_no: int
    upload: Upload
    progress: Progress


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not recorded: where it stands, why, and its bytes as they came.

    Of a row that is too long the bytes are only its beginning (`is_cut`).
    """

    line: int
    code: str
    detail: str
    field: str
    key: str
    raw: bytes
    is_cut: bool = False


def refused(fates: Iterable[Fate]) -> list[Fate]:
    """The fates of what was neither recorded nor known before."""
    return [fate for fate in fates if fate.verdict in (REJECTED, CONFLICT)]
