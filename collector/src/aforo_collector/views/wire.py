"""The forms that all views share: times, token pools, pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from aforo_collector.domain.cost import Pools

Wire: TypeAlias = dict[str, Any]
"""A JSON object as it travels."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(time_ns: int) -> str | None:
    """RFC 3339 in UTC with microseconds, None for no time; digits beyond are cut."""
    if not time_ns:
        return None
    moment = EPOCH + timedelta(microseconds=time_ns // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def tokens_view(
    input_: int, output: int, reasoning: int, cache_read: int, cache_write: int
) -> dict[str, int]:
    """Exclusive pools and their sum, which is the provider's total."""
    return {
        "input": input_,
        "output": output,
        "reasoning": reasoning,
        "cacheRead": cache_read,
        "cacheWrite": cache_write,
        "total": input_ + output + reasoning + cache_read + cache_write,
    }


def pools_view(pools: Pools) -> dict[str, int]:
    """The pools of one call: audio counts with the text of its direction, as in all totals."""
    return tokens_view(
        pools.input + pools.audio_in,
        pools.output + pools.audio_out,
        pools.reasoning,
        pools.cache_read,
        pools.cache_write_5m + pools.cache_write_1h,
    )


def page(items: list[Wire], cursor: str | None) -> Wire:
    """A page of a list and where the next one starts, null on the last page."""
    return {"items": items, "nextCursor": cursor}
