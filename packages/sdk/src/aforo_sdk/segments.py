"""Segment files: how a spool folder is laid out, who owns what in it, and how it is read.

A writer (one process, or one child of a fork) owns the segments `<writer>.<sequence>.seg`. It holds an
exclusive `flock` on its newest one and opens the next before it lets go of the last. So whoever gets the lock
on the newest segment of a writer knows that the writer is dead and that all its segments are free: it adopts
them, oldest first.

A segment is a valid OTLP `ScopeSpans` message: field 1 is the scope, field 15 (ours; unknown to OTLP, so
skipped by any reader) holds the encoded `Resource`, then comes one field 2 per span, each written by a single
`os.write`. A sender joins these bytes and never encodes again. An incomplete last record is a write that a
crash cut short: its callback never returned, so it is ignored.
"""

import errno
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self

from aforo_sdk import ids, wire

SUFFIX: Final = ".seg"
REQUEST_SPANS_MAX: Final = 512
REQUEST_SIZE_BYTES_MAX: Final = (1 << 20) - 4096
UNFINISHED_AGE_S_MAX: Final = 3600.0

_NAME: Final = re.compile(
    r"(?P<writer>[0-9a-f]{12}-\d+-[0-9a-f]{16}-(?P<fingerprint>[0-9a-f]{12}))\.(?P<sequence>\d{6,})\.seg"
)
_RESOURCE_TAG: Final = b"\x7a"  # field 15, length-delimited
_HEAD_SIZE_BYTES: Final = 64 * 1024

# Descriptors that hold a lock. A child of a fork closes its copies, or the locks would outlive their owner.
held: Final[set[int]] = set()
guard: Final = threading.RLock()


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment in a folder, as its name tells: writer, fingerprint of collector and key, sequence number."""

    path: Path
    writer: str
    fingerprint: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole records of one segment. `data` begins at the offset asked for; `ends` are the records' ends
    within it.
    """

    data: bytes
    ends: list[int]


def new_writer(fingerprint: str) -> str:
    """A name for a writer: unix milliseconds, process id, 64 random bits, fingerprint."""
    return writer_name(time.time_ns(), os.getpid(), ids.new_span_id(), fingerprint)


def writer_name(time_ns: int, process_id: int, number: int, fingerprint: str) -> str:
    """The name of a writer from its parts."""
    return f"{time_ns // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}-{process_id}-{number:016x}-{fingerprint}"


def head(resource: bytes, scope: bytes) -> bytes:
    """What stands before the first record."""
    return wire.sized(b"\x0a", scope) + wire.sized(_RESOURCE_TAG, resource)


def create(folder: Path, writer: str, sequence: int, header: bytes) -> tuple[int, Path]:
    """A new segment with its header written and its lock held: (descriptor for appending, path). Raises
    OSError.

    The file gets its name only once it is locked, so that nobody can take it for an orphan.
    """
    path = folder / f"{writer}.{sequence:06d}{SUFFIX}"
    unfinished = path.with_suffix(".new")
    with guard:
        descriptor = os.open(
            unfinished, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(descriptor, header) != len(header):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.rename(unfinished, path)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(unfinished)
            raise
        held.add(descriptor)
    return descriptor, path


def release(descriptor: int) -> None:
    """Close a descriptor that held a lock."""
    with guard:
        held.discard(descriptor)
        with suppress(OSError):
            os.close(descriptor)


def forget_held() -> None:
    """In the child of a fork: close the copies of the parent's locked descriptors, which leaves the locks
    with it.
    """
    for descriptor in held:
        with suppress(OSError):
            os.close(descriptor)
    held.clear()


def parse(path: Path) -> SegmentFile | None:
    """What the name of a file says, or None when it is no segment."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    return SegmentFile(path, match["writer"], match["fingerprint"], int(match["sequence"]))


def listing(folder: Path) -> dict[str, list[SegmentFile]]:
    """The segments of a folder by writer, oldest writer first, each writer's in order. A missing folder
    has none.
    """
    found: dict[str, list[SegmentFile]] = {}
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return found
    for name in names:
        segment = parse(folder / name)
        if segment is not None:
            found.setdefault(segment.writer, []).append(segment)
    for segments in found.values():
        segments.sort(key=lambda segment: segment.sequence)
    return found


def size_bytes(folder: Path) -> int:
    """The bytes of every file below a folder; 0 when there is none."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                total += (
                    size_bytes(Path(entry.path))
                    if entry.is_dir(follow_symlinks=False)
                    else entry.stat().st_size
                )
    return total


def clear_unfinished(folder: Path, now_s: float) -> None:
    """Remove files that a crash left before they got their name: they hold no span."""
    with suppress(OSError):
        for path in folder.glob("*.new"):
            with suppress(OSError):
                if now_s - path.stat().st_mtime > UNFINISHED_AGE_S_MAX:
                    path.unlink()


@contextmanager
def adopted(segments: list[SegmentFile]) -> Iterator[list[SegmentFile]]:
    """The segments of a dead writer, locked for the time of the block; an empty list while the writer lives.

    `segments` are those of one writer, as `listing` gave them; they are read again once the lock is held.
    """
    newest = segments[-1]
    descriptor = _lock(newest.path)
    if descriptor is None:
        yield []
        return
    try:
        current = listing(newest.path.parent).get(newest.writer, [])
        # A newer segment means that the writer moved on while we looked: it holds that one.
        yield current if current and current[-1].path == newest.path else []
    finally:
        release(descriptor)


def _lock(path: Path) -> int | None:
    with guard:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                held.add(descriptor)
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
        return None


class Reader:
    """A segment open for reading: its resource, its scope, and its records in batches. Raises OSError when
    opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.resource, self.scope, self.first = b"", b"", 0
        self._read_head()

    def _read_head(self) -> None:
        available = self.size_bytes
        window = os.pread(self._descriptor, min(available, _HEAD_SIZE_BYTES), 0)
        if not self._take_head(window) and available > len(window):
            self._take_head(os.pread(self._descriptor, available, 0))

    def _take_head(self, window: bytes) -> bool:
        """Read the fields before the first record; False when the window ends before they do."""
        self.first, position = 0, 0
        with suppress(ValueError):
            for number, _, value in wire.fields(window):
                if number == 2 or isinstance(value, int):
                    break
                position += 1 + len(wire.varint(len(value))) + len(value)
                if number == 1:
                    self.scope = value
                elif number == 15:
                    self.resource = value
                self.first = position
        return 0 < self.first < len(window)

    @property
    def size_bytes(self) -> int:
        """The size of the file now."""
        return os.fstat(self._descriptor).st_size

    def batch(self, start: int, stop: int) -> Batch:
        """Records from offset `start`, at most what one request may carry (a single bigger record comes
        alone).

        No record means that what stands at `start` is not whole: a torn tail, or bytes that nobody wrote.
        """
        size = min(stop - start, REQUEST_SIZE_BYTES_MAX)
        while True:
            data = os.pread(self._descriptor, size, start)
            ends = list(islice(wire.records(data), REQUEST_SPANS_MAX))
            if ends or size >= stop - start:
                return Batch(data[: ends[-1]] if ends else b"", ends)
            size = min(stop - start, size * 4)

    def rest(self, start: int, stop: int) -> bytes:
        """The raw bytes from `start` to `stop`."""
        return os.pread(self._descriptor, stop - start, start)

    def count(self) -> int:
        """How many whole records the segment holds."""
        start, stop, total = self.first, self.size_bytes, 0
        while start < stop and (batch := self.batch(start, stop)).ends:
            start, total = start + batch.ends[-1], total + len(batch.ends)
        return total

    def sync(self) -> None:
        """Bring what was written so far to the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
