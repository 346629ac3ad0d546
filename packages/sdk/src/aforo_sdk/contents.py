"""What stands in a spool folder, for people: used by `aforo doctor` and `aforo spool`."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aforo_sdk import segments
from aforo_sdk.delivery import POISON_FOLDER, poison_reason


@dataclass(frozen=True, slots=True)
class Row:
    """One segment: whole spans and bytes in it, and whether a living process is writing it or its
    successors.
    """

    path: Path
    fingerprint: str
    in_use: bool
    spans: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Poison:
    """One thing that was set aside: the file, and why (empty for damaged bytes)."""

    path: Path
    reason: str


def rows(folder: Path) -> list[Row]:
    """Every segment of a folder, oldest first."""
    found = []
    for of_writer in segments.listing(folder).values():
        with segments.adopted(of_writer) as orphans:
            in_use = not orphans
        for segment in of_writer:
            with suppress(OSError), segments.Reader(segment.path) as reader:
                found.append(
                    Row(segment.path, segment.fingerprint, in_use, reader.count(), reader.size_bytes)
                )
    return found


def poison(folder: Path) -> list[Poison]:
    """What was set aside below a folder."""
    aside = folder / POISON_FOLDER
    with suppress(OSError):
        return [
            Poison(path, poison_reason(path) if path.suffix == segments.SUFFIX else "")
            for path in sorted(aside.iterdir())
            if path.suffix in (segments.SUFFIX, ".rest")
        ]
    return []
