"""Identity travels: through sessions, tasks, threads and baggage; and a session is closed as promised."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import aforo_sdk
import pytest
from aforo_sdk import plugin
from aforo_sdk.identity import ATTRIBUTE_NAMES
from aforo_sdk.plugin import Identity
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context

from tests.sdk.sink import Sink, attributes_of

FIELDS = st.none() | st.text(min_size=1, max_size=20)
IDENTITIES = st.builds(Identity, FIELDS, FIELDS, FIELDS, FIELDS, FIELDS, FIELDS)


@given(IDENTITIES, IDENTITIES, IDENTITIES)
def test_identities_fill_up_in_order(first: Identity, second: Identity, third: Identity) -> None:
    """Own values win, unknown ones are filled, and it does not matter how the filling is grouped."""
    merged = first.over(second)
    for name in ATTRIBUTE_NAMES:
        assert getattr(merged, name) == (getattr(first, name) or getattr(second, name))
    assert first.over(second).over(third) == first.over(second.over(third))
    assert first.over(Identity()) == Identity().over(first) == first


def test_values_that_are_no_text_become_text() -> None:
    """Ids of other types are taken as their text, empty ones as unknown."""
    assert Identity(customer_id=42, team_id="").items() == [("aforo.customer.id", "42")]  # type: ignore[arg-type]


def test_a_session_names_who_pays_and_puts_everything_back(metered: Sink) -> None:
    """Inside the block identity and baggage are the session's, after it what they were before."""
    before = plugin.current_identity(), dict(baggage.get_all())
    with aforo_sdk.session("s-1", agent_id="researcher") as session:
        assert plugin.current_identity() == session.identity
        assert session.identity == Identity("acme", None, "researcher", None, "s-1", "AGENTIC_API")
        assert baggage.get_all() == {"aforo.session.id": "s-1", "aforo.agent.id": "researcher"}
        with aforo_sdk.session("s-2", customer_id="globex"):
            assert plugin.current_identity() == Identity(
                "globex", None, "researcher", None, "s-2", "AGENTIC_API"
            )
        assert plugin.current_identity() == session.identity
    assert (plugin.current_identity(), dict(baggage.get_all())) == before


def test_context_wins_over_baggage_wins_over_defaults(metered: Sink) -> None:
    """Each field comes from the nearest place that knows it."""
    carried = baggage.set_baggage("aforo.customer.id", "carried", baggage.set_baggage("aforo.team.id", "ops"))
    token = context.attach(carried)
    try:
        assert plugin.current_identity() == Identity("carried", "ops", product_type="AGENTIC_API")
        with aforo_sdk.session("s", customer_id="explicit"):
            assert plugin.current_identity().customer_id == "explicit"
            assert plugin.current_identity().team_id == "ops"
    finally:
        context.detach(token)


def test_concurrent_tasks_keep_their_sessions(metered: Sink) -> None:
    """Two sessions of one event loop never see each other."""

    async def work(name: str) -> None:
        async with aforo_sdk.session(name):
            for _ in range(20):
                await asyncio.sleep(0)
                assert plugin.current_identity().session_id == name

    async def main() -> None:
        await asyncio.gather(*(work(f"s-{number}") for number in range(10)))

    asyncio.run(main())


def test_blocks_that_end_in_any_order_leave_nothing_behind(metered: Sink) -> None:
    """Where an outer block ends first, the inner one goes on, and after it all is as it was before both."""
    before = plugin.current_identity(), dict(baggage.get_all())
    blocks = [aforo_sdk.session(f"s-{name}", customer_id=name) for name in ("a", "b", "c")]
    for block in blocks:
        block.__enter__()
    for block in blocks[:2]:
        block.__exit__(None, None, None)
        assert plugin.current_identity().customer_id == "c"
    blocks[2].__exit__(None, None, None)
    assert (plugin.current_identity(), dict(baggage.get_all())) == before


def test_wrap_brings_a_session_into_threads(metered: Sink) -> None:
    """A wrapped function runs in its session in any thread, many at once; an unwrapped one does not."""
    with aforo_sdk.session("s-1") as session, ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4, timeout=10)

        def who() -> str | None:
            barrier.wait()
            return plugin.current_identity().session_id

        assert [future.result() for future in [pool.submit(session.wrap(who)) for _ in range(4)]] == [
            "s-1"
        ] * 4
        assert [future.result() for future in [pool.submit(who) for _ in range(4)]] == [None] * 4


def test_wrap_keeps_coroutines(metered: Sink) -> None:
    """A wrapped coroutine function is one, and runs in the session wherever it is awaited."""
    outside = aforo_sdk.session("s-1")

    async def who() -> str | None:
        await asyncio.sleep(0)
        return plugin.current_identity().session_id

    wrapped = outside.wrap(who)
    assert inspect.iscoroutinefunction(wrapped)

    async def main() -> tuple[str | None, str | None]:
        return await wrapped(), plugin.current_identity().session_id

    assert asyncio.run(main()) == ("s-1", None)


def test_wrap_keeps_generators(metered: Sink) -> None:
    """A wrapped generator is one, and its code runs in the session whoever reads it, in whatever thread; the
    code that reads it does not.
    """

    def who() -> Iterator[str | None]:
        for _ in range(3):
            yield plugin.current_identity().session_id

    async def awho() -> AsyncIterator[str | None]:
        for session_id in who():
            yield session_id

    session = aforo_sdk.session("s-1")
    items = session.wrap(who)()
    with ThreadPoolExecutor(1) as pool:
        assert [pool.submit(next, items).result() for _ in range(2)] == ["s-1"] * 2
    assert (next(items), plugin.current_identity().session_id) == ("s-1", None)

    async def main() -> list[tuple[str | None, str | None]]:
        return [(inside, plugin.current_identity().session_id) async for inside in session.wrap(awho)()]

    assert asyncio.run(main()) == [("s-1", None)] * 3


@pytest.mark.parametrize(
    ("session_id", "close", "ends"), [(None, None, 1), (None, False, 0), ("s", None, 0), ("s", True, 1)]
)
def test_who_closes_a_session(metered: Sink, session_id: str | None, close: bool | None, ends: int) -> None:
    """A minted session ends with its block, a given one only when that is asked for."""
    with aforo_sdk.session(session_id, close=close) as session:
        assert session.session_id == (session_id or session.session_id)
    aforo_sdk.record_usage("m", 1)
    assert aforo_sdk.flush(10.0)
    assert metered.names.count("session_end") == ends
    for span in metered.spans[:-1]:
        assert attributes_of(span)["aforo.session.id"] == session.session_id
        assert attributes_of(span)["aforo.operation.name"] == "session_end"
        assert span.start_time_unix_nano == span.end_time_unix_nano


def test_closing_twice_says_it_once(metered: Sink) -> None:
    """`close()` is idempotent, also together with the end of the block and with an exception in it."""

    def fails() -> None:
        with aforo_sdk.session() as session:
            session.close()
            session.close()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert aforo_sdk.flush(10.0)
    assert metered.names == ["session_end"]


def test_minted_ids_differ_and_sort_by_time(metered: Sink) -> None:
    """Every block without an id is a session of its own."""
    minted = [aforo_sdk.session().session_id for _ in range(100)]
    assert len(set(minted)) == 100
    assert sorted(one[:20] for one in minted) == [one[:20] for one in minted]


def test_a_block_that_ends_elsewhere_is_quiet(metered: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """A session in a generator that another context closes neither raises nor logs an error."""

    def items() -> object:
        with aforo_sdk.session("s"):
            yield 1

    generator = items()

    async def first() -> None:
        next(generator)  # type: ignore[call-overload]

    asyncio.run(first())
    generator.close()  # type: ignore[attr-defined]
    assert caplog.records == []
