"""What no file of the repository says: addresses that hold on one machine only, and work left for later."""

import re
from collections.abc import Iterator

BLOB_BYTES_MAX = 200_000

# The patterns are put together from parts so that this file does not break its own rules.
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pythonhosted", "org"),
            ("pypi", "org"),
            ("registry", "npmjs"),
            ("deb", "debian"),
            ("proxy", "golang"),
            ("crates", "io"),
            ("conda", "anaconda"),
        )
    )
    + r"|(?:index|extra-index)-url|find-links\s*="
)

UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")

MACHINE_PATHS = re.compile(r"(?<![\w.~$}/-])/(?:work|root|home|Users|opt)/\w")


def names_no_registry(path: str, text: str) -> Iterator[str]:
    """No file names the host of a package registry: the project resolves from whichever one is configured."""
    yield from _hits(REGISTRY_HOSTS, path, text, "names a package registry")


def leaves_nothing_unfinished(path: str, text: str) -> Iterator[str]:
    """No file carries a note to finish something later."""
    yield from _hits(UNFINISHED, path, text, "is left unfinished")


def names_no_machine_path(path: str, text: str) -> Iterator[str]:
    """No file names a folder of somebody's machine."""
    yield from _hits(MACHINE_PATHS, path, text, "names a path of one machine")


def _hits(pattern: re.Pattern[str], path: str, text: str, complaint: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := pattern.search(line):
            yield f"{path}:{number}: `{found.group()}` {complaint}"


def is_small(path: str, size_bytes: int) -> Iterator[str]:
    """No file is larger than 200 kB: recordings and dumps do not belong here."""
    if size_bytes > BLOB_BYTES_MAX:
        yield f"{path}: {size_bytes} bytes, {BLOB_BYTES_MAX} allowed"
