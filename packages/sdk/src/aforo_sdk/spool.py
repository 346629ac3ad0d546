"""The writing side of a spool: one `os.write` per span, in the file when the call returns.

The kernel holds what was written, so `kill -9` loses nothing; `fsync` follows in the background (sender). One
lock serialises writers of a process; it is re-entrant because the garbage collector and signal handlers may
end a span in the middle of another one's write.
"""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from aforo_sdk import segments
from aforo_sdk.notices import count, warn_once

SEGMENT_SIZE_BYTES_MAX: Final = 4 << 20
# Less than a request holds: what is written until the sender gets to run travels along.
WAKE_AT_SPANS: Final = 384
_WAKE_AT: Final = (1, WAKE_AT_SPANS)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PASSING: Final = (*_FULL, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

Position: TypeAlias = tuple[int, int]
"""(generation, offset): a point in the stream of everything one process writes. Positions only grow."""


@dataclass(slots=True)
class _Own:
    """A segment of ours that is not acknowledged to its end, with the sizes last seen."""

    path: Path
    inode: int
    generation: int
    size_bytes: int
    synced_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """What waits in the oldest segment of ours: whole records up to `stop`, or to the file's end once it
    is sealed.
    """

    path: Path
    generation: int
    stop: int | None


class Spool:
    """The segments of this process in a folder, bounded in size together with everything else that stands
    there.

    `wake` is called (by the writer, so it must be quick and re-entrant) when the first span waits and when
    `WAKE_AT_SPANS` do.
    """

    def __init__(
        self, folder: Path, fingerprint: str, header: bytes, size_bytes_max: int, wake: Callable[[], None]
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.writer = ""
        self.lock = threading.RLock()
        self.acknowledged: Position = (0, 0)
        self.waiting = 0
        self.refused = 0
        self._header = header
        self._size_bytes_max = size_bytes_max
        self._wake = wake
        self._sequence = 0
        self._generation = 0
        self._own: deque[_Own] = deque()
        self._descriptor = -1
        self._room = -1  # bytes that may be written before anything has to be looked at again
        self._elsewhere_bytes = 0
        self._busy = False
        self._deferred: deque[bytes] = deque()
        self._notices: deque[tuple[str, str]] = deque(maxlen=16)

    def append(self, record: bytes) -> bool:
        """Write one record. True: it is in the file. False: refused, counted and warned about.

        Never raises OSError. A span that ends while this very thread is opening or emptying a segment (in a
        signal handler or a finalizer) is written when that is done, microseconds later.
        """
        self.lock.acquire()  # a `with` would cost more than the rest
        try:
            size = len(record)
            if size > self._room and self._busy:
                self._deferred.append(record)
                return True
            if size <= self._room or self._make_room(size):
                try:
                    written = os.write(self._descriptor, record)
                except OSError as error:
                    written = self._write_anew(record, error)
                if written == size:
                    self._room -= size
                    waiting = self.waiting = self.waiting + 1
                    if waiting in _WAKE_AT:
                        self._wake()
                    return True
                if written >= 0:
                    self._take_back(written)
        finally:
            self.lock.release()
        self.speak()
        return False

    def speak(self) -> None:
        """Log what came up under the lock.

        Never called while it is held: a log handler may end a span of its own.
        """
        while self._notices:
            warn_once(*self._notices.popleft())

    def _write_anew(self, record: bytes, error: OSError) -> int:
        """Write after a failure, in a new segment if that can help: how many bytes went in, -1 if refused."""
        if error.errno not in _FULL:
            # The descriptor was closed under us (a daemon closing all it has).
            with self._changing():
                self._let_go()
                if not self._open():
                    return -1
            try:
                return os.write(self._descriptor, record)
            except OSError as second:
                error = second
        self._refuse(f"writing to {self.folder} failed: {error}")
        return -1

    def _take_back(self, written: int) -> None:
        """Remove the part of a record that found room, and refuse the whole."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
        self._refuse(f"no space left for {self.folder}")

    def _make_room(self, size: int) -> bool:
        """Have a segment open that may take `size` more bytes; False when the spool may not."""
        with self._changing():
            if self._descriptor < 0:
                if not self._open():
                    return False
            else:
                current = self._own[-1].size_bytes
                full = current + size > SEGMENT_SIZE_BYTES_MAX
                if full and current > len(self._header) and not self._open():
                    return False
            if self._total_bytes() + size > self._size_bytes_max:
                return self._refuse(f"the spool {self.folder} holds its {self._size_bytes_max} bytes")
            return True

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Everything that opens, empties or removes a segment happens in such a block.

        The lock alone does not do: it is re-entrant, and a span that ends in a finalizer between the look at
        a segment and its emptying would be gone. Sizes are measured at the start, room reckoned at the end.
        """
        with self.lock:
            outer, self._busy, self._room = self._busy, True, -1
            try:
                self._measure()
                yield
            finally:
                self._busy = outer
                if not outer:
                    self._reckon()
                    while self._deferred:
                        self.append(self._deferred.popleft())

    def _measure(self) -> None:
        """Note the size of the open segment; let go of a descriptor that is not ours any more."""
        if self._descriptor >= 0:
            try:
                status = os.fstat(self._descriptor)
            except OSError:
                status = None
            if status is None or status.st_ino != self._own[-1].inode:
                self._let_go()
            else:
                self._own[-1].size_bytes = status.st_size

    def _reckon(self) -> None:
        self._room = -1
        if self._descriptor >= 0:
            in_segment = SEGMENT_SIZE_BYTES_MAX - self._own[-1].size_bytes
            self._room = min(in_segment, self._size_bytes_max - self._total_bytes())

    def _total_bytes(self) -> int:
        return self._elsewhere_bytes + sum(own.size_bytes for own in self._own)

    def _let_go(self) -> None:
        """Give up the open segment's descriptor, without closing what has become somebody else's file."""
        if self._descriptor < 0:
            return
        own, descriptor, self._descriptor = self._own[-1], self._descriptor, -1
        with suppress(OSError):
            own.size_bytes = own.path.stat().st_size
        try:
            still_ours = os.fstat(descriptor).st_ino == own.inode
        except OSError:
            still_ours = False
        if still_ours:
            segments.release(descriptor)
        else:
            segments.held.discard(descriptor)

    def _open(self) -> bool:
        """Open the next segment; in the fallback folder when this one cannot be used."""
        try:
            try:
                self._create()
            except OSError as error:
                if error.errno in _PASSING:
                    raise
                unusable, self.folder = self.folder, _fallback_folder()
                self._say(
                    "spool folder",
                    f"the spool folder {unusable} cannot be written ({error}). Spans go to {self.folder} "
                    "instead and are delivered from there; set AFORO_SPOOL_DIR to one that can be written.",
                )
                self._create()
        except OSError as error:
            return self._refuse(f"no segment could be opened in {self.folder}: {error}")
        return True

    def _create(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.writer:
            self.writer = segments.new_writer(self.fingerprint)
            self._elsewhere_bytes = segments.size_bytes(self.folder)
        self._sequence += 1
        descriptor, path = segments.create(self.folder, self.writer, self._sequence, self._header)
        previous, self._descriptor = self._descriptor, descriptor
        self._generation += 1
        if not self._own:
            self.acknowledged = (self._generation, 0)
        self._own.append(_Own(path, os.fstat(descriptor).st_ino, self._generation, len(self._header)))
        if previous >= 0:
            segments.release(previous)

    def _refuse(self, reason: str) -> bool:
        self.refused += 1
        count("spans_refused")
        self._say(
            "spool refuses",
            f"{reason}. New spans are refused and counted, and will not be billed; what is in the spool is "
            "kept. Make room, raise AFORO_SPOOL_MAX_BYTES, or bring the collector back; see `aforo doctor`.",
        )
        return False

    def _say(self, key: str, message: str) -> None:
        self._notices.append((key, f"aforo: {message}"))

    # -- what the sender asks --------------------------------------------------------------------------------

    def written(self, timeout_s: float) -> Position | None:
        """Where everything written so far ends. None when a write holds the lock for all of `timeout_s`."""
        if not self.lock.acquire(timeout=timeout_s):
            return None
        try:
            with self._changing():
                if not self._own:
                    return self.acknowledged
                size = self._own[-1].size_bytes
                return self._generation, size if size > len(self._header) else 0
        finally:
            self.lock.release()

    def oldest(self) -> Stretch | None:
        """The oldest segment of ours with something in it to be acknowledged. Resets `waiting`."""
        with self._changing():
            self.waiting = 0
            if not self._own:
                return None
            own = self._own[0]
            if self._sealed(own):
                return Stretch(own.path, own.generation, None)
            if own.size_bytes <= len(self._header):
                return None
            return Stretch(own.path, own.generation, own.size_bytes)

    def acknowledge(self, generation: int, offset: int) -> None:
        """Everything up to here is the collector's.

        A segment that ends here is deleted, the open one is emptied. A generation that is not the oldest any
        more is left alone: its segment was emptied since.
        """
        with self._changing():
            if not self._own or self._own[0].generation != generation:
                return
            own = self._own[0]
            self.acknowledged = (generation, offset)
            if offset < own.size_bytes:
                return
            if self._sealed(own):
                self._forget_oldest()
            else:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, len(self._header))
                    self._generation += 1
                    own.generation = self._generation
                    own.size_bytes = own.synced_bytes = len(self._header)
                    self.acknowledged = (self._generation, 0)

    def drop(self, generation: int) -> None:
        """The file of this segment is gone: forget it, and open a new one for what comes."""
        with self._changing():
            if self._own and self._own[0].generation == generation:
                if not self._sealed(self._own[0]):
                    self._let_go()
                self._forget_oldest()

    def _sealed(self, own: _Own) -> bool:
        """Whether nothing is written to this segment any more."""
        return self._descriptor < 0 or own is not self._own[-1]

    def _forget_oldest(self) -> None:
        own = self._own.popleft()
        with suppress(OSError):
            own.path.unlink()
        self.acknowledged = (own.generation + 1, 0)

    def measure(self) -> None:
        """Look again at what else stands in the folder."""
        total = segments.size_bytes(self.folder)
        with self._changing():
            self._elsewhere_bytes = max(0, total - sum(own.size_bytes for own in self._own))

    def sync(self) -> None:
        """Bring what was written since the last call to the disk. The lock is not held meanwhile."""
        with self._changing():
            dirty = [own for own in self._own if own.synced_bytes < own.size_bytes]
            for own in dirty:
                own.synced_bytes = own.size_bytes
        for own in dirty:
            with suppress(OSError), segments.Reader(own.path) as reader:
                reader.sync()

    def close(self) -> None:
        """Remove the open segment when all of it is acknowledged. The next `append` opens another one."""
        with self._changing():
            if self._descriptor >= 0 and len(self._own) == 1 and self._own[0].size_bytes <= len(self._header):
                # Unlinked before its lock goes, so that nobody adopts an empty file.
                descriptor, self._descriptor = self._descriptor, -1
                self._forget_oldest()
                segments.release(descriptor)


def _fallback_folder() -> Path:
    """A private folder under the temporary one, the same for every process of this user. Raises OSError."""
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"aforo-spool-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        # Somebody else made it: what is written there would be theirs to read.
        return Path(tempfile.mkdtemp(prefix="aforo-spool-"))
    return folder
