"""One collector per data folder: two writers would each remember what the other changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .sqlite import StoreError

LOCK_NAME = "lock"


class FolderInUse(StoreError):
    """Another collector works on the folder."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there; the system lets go however the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be used: {error.strerror}. Nothing was changed; give another --data folder."
        ) from error
    try:
        _lock(file, folder)
        yield
    finally:
        os.close(file)


def _lock(file: int, folder: Path) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise FolderInUse(
            f"another collector works on {folder}. Nothing was changed; stop it or give another --data."
        ) from None
