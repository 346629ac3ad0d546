"""`record_usage` writes what was meant, or says clearly that it did not."""

import json
from decimal import Decimal

import aforo_sdk
import pytest
from aforo_sdk.usage import decimal_text
from hypothesis import given
from hypothesis import strategies as st

from tests.sdk.sink import Sink, attributes_of


def test_a_usage_event_is_a_span_that_says_all(metered: Sink) -> None:
    """Metric, quantity, payer, key and metadata travel as attributes; the rest of the identity comes from
    the context.
    """
    with aforo_sdk.session("s-1", close=False):
        aforo_sdk.record_usage(
            "translations", Decimal("2.50"), "globex", {"pages": [1, 2], "ü": None}, "order-7"
        )
    assert aforo_sdk.flush(10.0)
    found = attributes_of(metered.span("record_usage"))
    assert json.loads(str(found.pop("aforo.metadata"))) == {"pages": [1, 2], "ü": None}
    assert found == {
        "aforo.operation.name": "record_usage",
        "aforo.metric.name": "translations",
        "aforo.quantity": "2.50",
        "aforo.idempotency.key": "order-7",
        "aforo.customer.id": "globex",
        "aforo.session.id": "s-1",
        "aforo.product.type": "AGENTIC_API",
    }


@given(st.integers(0, 10**30) | st.decimals(0, 10**15, places=6) | st.floats(1e-20, 1e30))
def test_quantities_are_written_exactly(quantity: int | Decimal | float) -> None:
    """A quantity becomes plain decimal text of the same value; a float means the decimal that Python
    prints for it.
    """
    text = decimal_text("quantity", quantity)
    assert Decimal(text) == Decimal(repr(quantity) if isinstance(quantity, float) else quantity)
    assert "E" not in text.upper()


def test_any_float_counts_as_it_prints() -> None:
    """A float of another class, as numpy's, is the number that a plain one of its value is."""

    class Other(float):
        def __repr__(self) -> str:
            return f"np.float64({float(self)})"

    assert decimal_text("quantity", Other(0.1)) == "0.1"


def test_a_number_too_long_to_be_printed_is_refused_as_any_other(metered: Sink) -> None:
    """Python prints no integer of more than 4300 digits: as a quantity it is refused, as a cost left out."""
    with pytest.raises(aforo_sdk.UsageError, match=r"quantity .*Nothing was recorded"):
        aforo_sdk.record_usage("m", 10**5_000)
    assert aforo_sdk.tool(cost=10**5_000)(len)("ab") == 2


@pytest.mark.parametrize(
    "quantity", [-1, "-0.5", "NaN", float("nan"), float("inf"), "many", "", None, True, [], 1 + 2j, "1e999"]
)
def test_a_quantity_that_is_none_is_refused(metered: Sink, quantity: object) -> None:
    """A wrong quantity raises an error that says what is wrong, and nothing is recorded."""
    with pytest.raises(aforo_sdk.UsageError, match=r"quantity .*Nothing was recorded"):
        aforo_sdk.record_usage("m", quantity)  # type: ignore[arg-type]
    aforo_sdk.flush(1.0)
    assert metered.names == []


@pytest.mark.parametrize(
    "metadata", [{"a": object()}, {"a": float("nan")}, {"a": "x" * 70_000}, [1], "text", {(1, 2): 3}]
)
def test_metadata_that_is_no_json_object_is_refused(metered: Sink, metadata: object) -> None:
    """Metadata has to be a JSON object of at most 64 KiB."""
    with pytest.raises(aforo_sdk.UsageError, match="metadata"):
        aforo_sdk.record_usage("m", 1, metadata=metadata)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="metric_name"):
        aforo_sdk.record_usage(" ", 1)
    with pytest.raises(aforo_sdk.AforoError, match="idempotency_key"):
        aforo_sdk.record_usage("m", 1, idempotency_key="")
