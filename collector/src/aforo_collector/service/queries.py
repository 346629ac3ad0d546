"""The parameters of reading requests: limits, cursors, and the one error for what makes no sense."""

from __future__ import annotations

import base64
import binascii

LIMIT_MAX = 1_000


class InvalidQuery(ValueError):
    """A parameter of a reading request that makes no sense; `field` is its wire name. Nothing was read."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


def check_limit(limit: int) -> None:
    """Raise `InvalidQuery` for a page size outside 1 to `LIMIT_MAX`."""
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidQuery("limit", f"{limit} is outside 1 to {LIMIT_MAX}")


def cursor_of(*parts: int | str) -> str:
    """Where a page ended, as opaque text; only the last part may be text."""
    said = "|".join(str(part) for part in parts)
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def parts_of(cursor: str, numbers: int, text: bool = False) -> tuple[list[int], str]:
    """The numbers of a cursor, and its text at the end if it has one; raises `InvalidQuery`."""
    try:
        said = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        parts = said.split("|", numbers)
        if len(parts) != numbers + text:
            raise ValueError
        found = [int(part) for part in parts[:numbers]]
    except (binascii.Error, ValueError):
        raise _foreign() from None
    # Numbers of the store are 64 bits wide.
    if any(abs(number) >= 2**63 for number in found):
        raise _foreign()
    return found, parts[-1] if text else ""


def _foreign() -> InvalidQuery:
    return InvalidQuery("cursor", "is not one that this list gave; start without a cursor")
