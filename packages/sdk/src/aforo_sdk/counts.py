"""Counters of other processes: each writes its own beside its segments, `aforo doctor` adds them up.

Only what is worth knowing is counted, so a folder without trouble has no such files. They are kept for a
week.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER: Final = "counts"
AGE_S_MAX: Final = 7 * 86_400.0


def publish(folder: Path, writer: str, counters: dict[str, int]) -> None:
    """Write the counters of one process, whole or not at all, and remove those nobody needs any more.

    Counters that cannot be written are not worth a warning: the disk has said so already.
    """
    target = folder / FOLDER / f"{writer}.json"
    with suppress(OSError):
        target.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = target.with_suffix(".new")
        unfinished.write_text(json.dumps(counters), encoding="ascii")
        os.rename(unfinished, target)
        for path in target.parent.iterdir():
            if time.time() - path.stat().st_mtime > AGE_S_MAX:
                path.unlink()


def collected(folder: Path) -> dict[str, int]:
    """The counters of all processes that used a folder within the last week, added up."""
    total: dict[str, int] = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            for name, amount in dict(json.loads(path.read_text(encoding="ascii"))).items():
                total[name] = total.get(name, 0) + int(amount)
    return dict(sorted(total.items()))
