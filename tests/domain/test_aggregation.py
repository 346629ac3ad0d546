"""How the values of events become one number, against the definition said in another way."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction

import pytest
from aforo_collector.domain.aggregation import AGGREGATIONS, Tally, aggregation_of, merged
from aforo_collector.domain.metrics import BillableUnit, Counted
from aforo_collector.domain.money import plain
from hypothesis import given
from hypothesis import strategies as st

values = st.lists(
    st.decimals(0, 10**15 - 1, places=0)
    | st.decimals(0, 1000, places=6)
    | st.decimals(0, 1, places=20)
    | st.sampled_from([Decimal(0), Decimal("2.5"), Decimal(7)]),
    min_size=1,
    max_size=30,
)


def expected(aggregation: str, numbers: list[Decimal]) -> Fraction:
    """The definition, on fractions and the plain list."""
    exact = sorted(Fraction(number) for number in numbers)
    if aggregation.startswith("PERCENTILE_"):
        percent = int(aggregation.removeprefix("PERCENTILE_"))
        return next(value for place, value in enumerate(exact, 1) if place * 100 >= percent * len(exact))
    unit = 10**12
    return {
        "SUM": sum(exact, Fraction(0)),
        "MAX": exact[-1],
        "MIN": exact[0],
        "AVG": Fraction(round(sum(exact) * unit / len(exact)), unit),
        "COUNT_DISTINCT": Fraction(len(set(exact))),
    }[aggregation]


aggregations = st.sampled_from(["SUM", "MAX", "MIN", "AVG", "COUNT_DISTINCT"]) | st.integers(1, 99).map(
    lambda percent: f"PERCENTILE_{percent}"
)


@given(aggregations, values, st.integers(0, 30))
def test_a_tally_comes_to_what_its_definition_says(
    aggregation: str, numbers: list[Decimal], cut: int
) -> None:
    """Whatever the values, their order, and the parts they were counted in, the number is exact."""
    texts = [plain(number) for number in numbers]
    parts = [Tally(aggregation, Counter(part)) for part in (texts[:cut], texts[cut:])]
    assert Fraction(merged(parts).total()) == expected(aggregation, numbers)
    assert Fraction(merged(parts[::-1]).total()) == expected(aggregation, numbers)


def test_nothing_comes_to_nothing() -> None:
    """Without events every aggregation gives 0, and events without the field are no distinct value."""
    assert {Tally(aggregation, {}).total() for aggregation in AGGREGATIONS[1:]} == {0}
    assert Tally("COUNT_DISTINCT", {"": 5, "a": 2}).total() == 1


@pytest.mark.parametrize(
    ("text", "aggregation"),
    [
        *((name, name) for name in AGGREGATIONS),
        ("UNIQUE", "COUNT_DISTINCT"),
        ("P95", "PERCENTILE_95"),
        ("PERCENTILE_1", "PERCENTILE_1"),
        ("PERCENTILE_0", None),
        ("PERCENTILE_100", None),
        ("PERCENTILE_05", None),
        ("max", None),
        ("", None),
    ],
)
def test_an_aggregation_has_one_name_and_some_aliases(text: str, aggregation: str | None) -> None:
    """What people call it leads to the one name, and anything else to none."""
    assert aggregation_of(text) == aggregation


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"latency_ms": 12}, "12"),
        ({"latencyMs": "12.50"}, "12.5"),
        ({"latency_ms": Decimal("0.000")}, "0"),
        ({"latency_ms": Decimal("1e-25")}, "0"),
        ({"latency_ms": Decimal("0.1234567890123456789012")}, "0.12345678901234567890"),
        ({"latency_ms": 10**15 - 1}, "999999999999999"),
        ({}, "3"),
        *(
            ({"latency_ms": wrong}, "3")
            for wrong in (
                None,
                True,
                "fast",
                -1,
                10**15,
                Decimal("NaN"),
                Decimal("1e400"),
                {"a": 1},
                [1],
                10**5000,
            )
        ),
    ],
)
def test_the_field_counts_where_it_is_a_number_and_else_the_quantity(
    fields: dict[str, object], value: str
) -> None:
    """A real 0 stays 0; what is absent, no number, negative or beyond all use leaves the quantity to count."""
    for aggregation in ("SUM", "MAX", "MIN", "AVG", "PERCENTILE_95"):
        unit = BillableUnit("latency", aggregation, event_field="latency_ms")
        assert unit.counted(Decimal("3.0"), fields) == Counted(Decimal(value), plain(Decimal(value)))
    for unit in (BillableUnit("calls", "COUNT", event_field="latency_ms"), BillableUnit("units")):
        assert unit.counted(Decimal(3), fields) == Counted(Decimal(3))
        assert not unit.sampled


def test_distinct_values_are_told_apart_as_texts() -> None:
    """Numbers and texts that read the same are the same; long ones and odd ones are kept short and apart."""
    unit = BillableUnit("users", "COUNT_DISTINCT", event_field="user_id")

    def kept(value: object) -> str | None:
        return unit.counted(Decimal(1), {}, {"userId": value}).sample

    assert kept(7) == kept("7") == kept(Decimal("7.0")) == "7"
    assert kept("07") == "07"
    assert (kept(True), kept("")) == ("true", "")
    assert unit.counted(Decimal(1), {}) == Counted(Decimal(1), "")
    odd = [kept(value) for value in ("a" * 200, "a" * 201, "a\0b", "a\n", "\ud800")]
    assert len(set(odd)) == 5
    assert all(text is not None and text.startswith("#") and len(text) == 33 for text in odd)
