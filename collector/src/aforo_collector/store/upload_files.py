"""Files that were uploaded, as they came, until their job is over: one folder, one file a job."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

FOLDER: Final = "uploads"
_UNFINISHED: Final = ".part"


class UploadFiles:
    """The folder of uploaded files; a file has the id of its job as its name, never what the sender calls it."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER
        self._folder.mkdir(exist_ok=True)

    def receive(self, upload_id: str) -> IncomingFile:
        """A file that is about to come."""
        return IncomingFile(self._folder / f"{upload_id}{_UNFINISHED}", self._folder / upload_id)

    def open(self, upload_id: str) -> BinaryIO:
        """A received file, from its beginning."""
        return (self._folder / upload_id).open("rb")

    def remove(self, upload_id: str) -> None:
        """Forget a file whose job is over."""
        (self._folder / upload_id).unlink(missing_ok=True)

    def keep_only(self, upload_ids: Collection[str]) -> None:
        """Remove what a crash left behind: files that no job waits for."""
        for path in self._folder.iterdir():
            if path.name not in upload_ids:
                path.unlink()


class IncomingFile:
    """A file while it comes in: `size_bytes` so far, `digest` the SHA-256 in hex of what is there."""

    def __init__(self, path: Path, final: Path) -> None:
        self.path = path
        self._final = final
        self._file = path.open("xb")
        self._hash = sha256()
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of what came, in hex."""
        return self._hash.hexdigest()

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append what came."""
        for piece in pieces:
            self._file.write(piece)
            self._hash.update(piece)
            self.size_bytes += len(piece)

    def sync(self) -> None:
        """Make sure that it is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def keep(self) -> None:
        """Give it its name for good; on return that is on disk."""
        self.path.rename(self._final)
        folder = os.open(self._final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Remove it, unless it was kept."""
        self._file.close()
        self.path.unlink(missing_ok=True)
