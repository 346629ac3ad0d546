"""A call that was taken back by hand stays taken back, whoever tells of it, before or after."""

from __future__ import annotations

from typing import Any

import pytest
from aforo_collector.service.corrections import NotCorrectable

from . import readings
from .engine import body, span
from .test_corrections import CHAT, amend, void


def test_a_span_that_was_voided_stays_so() -> None:
    """What a span is billed for can be taken back; spans that come later do not bring it back."""
    with readings.engine() as made:
        call = span(1, parent_id=2, aforo__customer__id="acme", **CHAT)
        made.send(body([call]))
        reading = readings.reading(made)
        [event, *_] = reading.usage_events(made.tenant_no, customer_id="acme")["items"]
        assert void(made, event["eventId"])
        made.send(body([span(2, aforo__customer__id="acme", aforo__session__id="s-9")]))

        assert reading.usage_events(made.tenant_no, customer_id="acme")["items"] == []
        assert [v["type"] for v in reading.history(made.tenant_no, event["eventId"]) or []] == [
            "usage",
            "void",
        ]
        with pytest.raises(NotCorrectable):
            amend(made, event["eventId"], quantity=1)


ID = {"gen_ai__response__id": "r-1"}
TOOL = {
    "gen_ai__operation__name": "execute_tool",
    "gen_ai__tool__name": "lookup",
    "gen_ai__tool__call__id": "c-1",
}
FULLER = {**CHAT, "gen_ai__usage__cache_read__input_tokens": 5}
COPIES: dict[str, list[dict[str, Any]]] = {
    "siblings": [span(1, **CHAT, **ID), span(2, start_s=0.5, **FULLER, **ID)],
    "siblings that are tools": [span(1, **TOOL), span(2, error=True, **TOOL)],
    "in two traces": [
        span(1, source="aforo", **CHAT),
        span(2, trace=2, source="other", start_s=0.5, **FULLER),
    ],
    "the client inside": [span(1, **CHAT), span(2, 1, **CHAT)],
    "a bare client inside": [span(1, **CHAT), span(2, 1, gen_ai__operation__name="chat")],
    "the framework around": [span(1, 2, **CHAT), span(2, **FULLER)],
    "the server's tool inside": [span(1, **TOOL), span(2, 1, **TOOL)],
    "the framework's tool around": [span(1, 2, **TOOL), span(2, **TOOL)],
}
"""Two spans of one call, each kind in a way of its own."""


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("kind", COPIES)
def test_a_call_that_was_voided_stays_so_whoever_else_tells_of_it(
    kind: str, later: bool, restarted: bool
) -> None:
    """No other span of the call brings it back, known before or come later, when its trace is looked at again."""
    turned = [] if "bare" in kind else [COPIES[kind][::-1]]  # a call without tokens may be another one
    for first, second in [COPIES[kind], *turned]:
        with readings.engine() as made:
            whose = {"aforo__customer__id": "acme"}
            copies = [
                one | {"attributes": one["attributes"] | {"aforo.customer.id": "acme"}}
                for one in (first, second)
            ]
            made.send(body(copies[:1] if later else copies))
            reading = readings.reading(made)
            while events := reading.usage_events(made.tenant_no, customer_id="acme")["items"]:
                assert void(made, events[0]["eventId"])
            if restarted:
                made.restart()
            more = [
                span(number, parent, trace, start_s=9, **whose)
                for number, parent, trace in ((8, 1, 1), (9, 2, 1), (9, 2, 2))
            ]
            made.send(body([*copies[1:], *more]))
            made.send(body([span(10, trace=3, source="another", **CHAT, start_s=2_000, **whose)]))

            items = readings.reading(made).usage_events(made.tenant_no, customer_id="acme")["items"]
            assert {item["spanId"] for item in items} == {f"{10:016x}"}, first["span_id"]
