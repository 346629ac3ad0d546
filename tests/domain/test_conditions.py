"""Filter conditions: what the eight operators mean, and where they look."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import pytest
from aforo_collector.domain.conditions import OPERATORS, Condition
from aforo_collector.domain.event_fields import sources_of
from aforo_collector.domain.metrics import BillableUnit
from aforo_collector.domain.submission import UsageEvent
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("operator", "value", "passes", "fails"),
    [
        ("EQUALS", "200", "200.0", "201"),
        ("EQUALS", "GET", "GET", "get"),
        ("NOT_EQUALS", "GET", "POST", "GET"),
        ("LESS_THAN", "400", "99", "400"),
        ("GREATER_THAN", "9", "10", "9"),
        ("GREATER_THAN", "9", "9.5", "fast"),
        ("CONTAINS", "chat", "/v1/chat", "/v1/embed"),
        ("NOT_CONTAINS", "chat", "/v1/embed", "/v1/chat"),
        ("IN", "GET, POST", "POST", "PUT"),
        ("NOT_IN", "GET,POST", "PUT", "GET"),
    ],
)
def test_conditions_compare_numbers_as_numbers_and_text_as_text(
    operator: str, value: str, passes: str, fails: str
) -> None:
    """A unit must count an event when all conditions hold, and an absent field only under negated ones."""
    unit = BillableUnit("calls", conditions=(Condition("field", operator, value),))
    assert unit.admits({"field": passes})
    assert not unit.admits({"field": fails})
    assert unit.admits({}) is operator.startswith("NOT_")
    both = BillableUnit("calls", conditions=(*unit.conditions, Condition("other", "EQUALS", "1")))
    assert both.admits({"field": passes, "other": "1"})
    assert not both.admits({"field": passes, "other": "2"})


def number(text: str) -> Decimal | None:
    """The number that a text is, as Python reads it; None for what is no plain finite one."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def said_again(operator: str, found: object, wanted: str) -> bool:
    """The operators, once more and plainly; numbers by value, truth values as JSON spells them."""
    if found is None:
        return operator in ("NOT_EQUALS", "NOT_CONTAINS", "NOT_IN")
    text = {True: "true", False: "false"}[found] if isinstance(found, bool) else str(found)
    if isinstance(found, Decimal):
        text = f"{found.normalize():f}" if found else "0"

    def same(option: str) -> bool:
        left, right = number(text), number(option)
        return text == option or (left is not None and left == right)

    left, right = number(text), number(wanted)
    both = left is not None and right is not None
    return {
        "EQUALS": lambda: same(wanted),
        "NOT_EQUALS": lambda: not same(wanted),
        "CONTAINS": lambda: wanted in text,
        "NOT_CONTAINS": lambda: wanted not in text,
        "IN": lambda: any(same(option.strip()) for option in wanted.split(",")),
        "NOT_IN": lambda: not any(same(option.strip()) for option in wanted.split(",")),
        "GREATER_THAN": lambda: both and left > right,  # type: ignore[operator]
        "LESS_THAN": lambda: both and left < right,  # type: ignore[operator]
    }[operator]()


texts = st.text("ab1.,e ", max_size=5)
numbers = st.integers(-20, 500) | st.decimals(-5, 5, places=2)
scalars = texts | numbers | st.booleans() | numbers.map(str)
wanted_texts = (texts | numbers.map(str) | st.sampled_from(["200", "1.50", "a, 200", "true"])).map(str.strip)


@given(st.sampled_from(OPERATORS), scalars | st.none(), wanted_texts)
def test_an_operator_does_what_its_plain_definition_says(operator: str, found: object, wanted: str) -> None:
    """Whatever the event says and the catalog asks for, both descriptions of an operator agree."""
    condition = Condition("field", operator, wanted)
    assert condition.holds({"field": found}) is said_again(operator, found, wanted)


@given(st.sampled_from(OPERATORS), scalars, wanted_texts)
def test_a_negated_operator_is_the_other_one_turned_round(operator: str, found: object, wanted: str) -> None:
    """NOT_x holds exactly where x does not, for every event that has the field."""
    positive = operator.removeprefix("NOT_")
    if f"NOT_{positive}" in OPERATORS:
        fields = {"field": found}
        assert Condition("field", f"NOT_{positive}", wanted).holds(fields) is not Condition(
            "field", positive, wanted
        ).holds(fields)


@pytest.mark.parametrize(
    ("name", "metadata", "top", "found"),
    [
        ("status_code", {"status_code": 1, "statusCode": 2}, {"status_code": 3}, "1"),
        ("statusCode", {"status_code": 1, "statusCode": 2}, {"statusCode": 3}, "2"),
        ("status_code", {"statusCode": 2}, {"status_code": 3}, "2"),
        ("statusCode", {"status_code": None}, {"status_code": 3}, "3"),
        ("status_code", {"status_code": {"is": 1}, "other": [2]}, {"statusCode": 3}, "3"),
        ("gqlHasErrors", {"gql_has_errors": False}, {}, "false"),
        ("path", {}, {"path": "/v1"}, "/v1"),
    ],
)
def test_metadata_is_looked_at_first_under_either_spelling(
    name: str, metadata: dict[str, object], top: dict[str, object], found: str
) -> None:
    """snake_case and camelCase are one name; null, objects and lists are not there."""
    assert Condition(name, "EQUALS", found).holds(metadata, top)
    assert not Condition(name, "EQUALS", "4").holds(metadata, top)


def test_the_top_level_of_an_event_goes_by_its_names_on_the_wire() -> None:
    """Every field that an event has of its own can be asked for, and its metadata comes first."""
    event = UsageEvent(
        "acme", "calls", Decimal("2.5"), 0, "key", "API", "s-1", "a-1", "t-1", "lookup", "ERROR", 1_500_000, "",
        {"agentId": "a-2"}, {"statusCode": 429, "toolName": "lookup", "executionStatus": "ERROR"},
    )  # fmt: skip
    for name, value in {
        "customer_id": "acme", "metricName": "calls", "quantity": "2.5", "product_type": "API",
        "session_id": "s-1", "agent_id": "a-2", "traceId": "t-1", "tool_name": "lookup",
        "execution_status": "ERROR", "executionDurationMs": "1.5", "status_code": "429",
    }.items():  # fmt: skip
        assert Condition(name, "EQUALS", value).holds(*sources_of(event)), name
    assert Condition("idempotencyKey", "NOT_CONTAINS", "key").holds(*sources_of(event))
