"""Keys that sign tokens take turns: each is published before it signs and stays until its tokens are over."""

from __future__ import annotations

from aforo_collector.domain.token import LEEWAY_S, LIFE_S, PUBLISHED_S, is_key_due, outlived, signer
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=50)
@given(st.lists(st.integers(1, 20 * 86_400), min_size=1, max_size=60))
def test_every_token_can_be_checked_for_as_long_as_it_lives(gaps_s: list[int]) -> None:
    """Whenever tokens are issued, their key stays published while they live, and was before it signed."""
    now_s, keys, alive = 1_795_000_000, [], []
    first = None
    for gap_s in gaps_s:
        now_s += gap_s
        if is_key_due(keys, now_s):
            keys.append(now_s)
        keys = [made for made in keys if made not in outlived(keys, now_s)]
        alive = [(made, until) for made, until in alive if until > now_s]
        assert all(made in keys for made, _ in alive)
        made = signer(keys, now_s)
        first = first or made
        assert made == first or made <= now_s - PUBLISHED_S
        assert len(keys) <= 3
        alive.append((made, now_s + LIFE_S + LEEWAY_S))


def test_a_key_does_not_sign_for_ever() -> None:
    """After a month another key is made, which signs an hour later, and then the first one goes."""
    month_s = 30 * 86_400
    assert is_key_due([], 0)
    assert not is_key_due([0], month_s - 1)
    assert is_key_due([0], month_s)
    assert signer([0, month_s], month_s + PUBLISHED_S - 1) == 0
    assert signer([0, month_s], month_s + PUBLISHED_S) == month_s
    assert outlived([0, month_s], month_s + PUBLISHED_S) == []
    assert outlived([0, month_s], month_s + PUBLISHED_S + LIFE_S + LEEWAY_S) == [0]
