"""One scenario under every combination of instrumentations: the bill is what the server served, or flagged."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from tests.matrix.bills import Bill, bill_of, closing_last, due, shuffled, statement
from tests.matrix.cells import PROCESSES_AT_ONCE, ROOT, Cell, Run, run
from tests.matrix.expectations import EXPECTED, Expected, Models, possible, table
from tests.matrix.instrumentations import OURS

SAMPLES = 4
CELLS = [
    Cell(framework, combination, setting)
    for framework, combination in possible()
    for setting in ("bare", "ambient")
    if setting == "bare" or set(combination.split("+")) - OURS
]
in_every_cell = pytest.mark.parametrize("cell", CELLS, ids=str)

Played = Callable[[Cell], Run]
Billed = Callable[[Cell], Bill]


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """What happened in a cell. The programs of all cells that are tested run side by side from the start."""
    folder = tmp_path_factory.mktemp("cells")
    wanted = dict.fromkeys(
        (item.callspec.params["cell"].framework, item.callspec.params["cell"].combination)
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and item.path == Path(__file__)
    )
    with ThreadPoolExecutor(PROCESSES_AT_ONCE) as pool:
        runs: dict[tuple[str, str], Future[dict[str, Run]]] = {
            one: pool.submit(run, *one, folder / "-".join(one)) for one in wanted
        }
        try:
            yield lambda cell: runs[cell.framework, cell.combination].result()[cell.setting]
        finally:
            pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def billed(played: Played) -> Billed:
    """The bill for a cell."""
    return cache(lambda cell: bill_of(played(cell).bodies))


def expected_of(cell: Cell) -> Expected:
    """What the table says of a cell."""
    return EXPECTED[cell.framework][cell.combination]


@in_every_cell
def test_each_token_is_billed_once_or_flagged(cell: Cell, played: Played, billed: Billed) -> None:
    """Tokens by pool, cost and model calls are the server's; what nobody told is flagged, call by call."""
    served, expected = played(cell).served, expected_of(cell)
    bill, owed = billed(cell), due(served, expected)

    assert len(served) == 3
    if expected.models is Models.EXACT:
        assert all(call.usage_sent for call in served)
    assert (bill.tokens, bill.cost, bill.model_calls) == (owed.tokens, owed.cost, owed.model_calls)
    if expected.models is Models.UNKNOWN:
        assert bill.unknown > 0
    else:
        assert bill.unknown == owed.unknown
    if expected.models is Models.TOTALS:
        assert bill.estimated >= sum(call.reasoning_tokens > 0 for call in served)
    elif expected.models is not Models.FLAGGED:
        assert bill.estimated == 0


@in_every_cell
def test_each_tool_call_is_billed_once(cell: Cell, played: Played, billed: Billed) -> None:
    """Two logical tool calls, one of which succeeded, however many spans tell of them."""
    assert billed(cell).tools == due(played(cell).served, expected_of(cell)).tools


@in_every_cell
def test_order_batches_and_repetition_change_nothing(cell: Cell, played: Played) -> None:
    """Any order of the spans, in any batches and transactions and some of them twice, gives the same bytes."""
    bodies = closing_last(played(cell).bodies)
    as_they_came = statement([[body] for body in bodies])

    assert statement([bodies]) == as_they_came
    for seed in range(SAMPLES):
        assert statement(shuffled(bodies, seed)) == as_they_came, f"the order of seed {seed}"


def test_the_readme_has_the_table() -> None:
    """The README says of every combination what it gives, in the words of the expectations."""
    assert table() in (ROOT / "README.md").read_text()
