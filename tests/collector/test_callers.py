"""Spans under a credential that says who pays: the same in any order, in any batches, and when read again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.doors.otlp import PROTOBUF, decode
from aforo_collector.service.intake import Delivery, Receipt
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collector.engine import Engine, body
from tests.collector.readings import chat, tool

ACME = Identity("acme", "ops", "bot", "", "AI_AGENT")
GLOBEX = Identity("globex", "", "", "web", "")
CALLERS = (NOBODY, ACME, GLOBEX)


def send(engine: Engine, spans: list[dict[str, Any]], caller: Identity) -> Receipt:
    """Deliver spans under a credential, in a transaction of their own."""
    sent = body(spans)
    found = decode(sent, PROTOBUF, engine.now_ns, caller)
    engine.store.begin()
    receipt = engine.intake.take(Delivery(engine.tenant_no, PROTOBUF, sent, found, caller), engine.now_ns)
    engine.intake.finish(engine.now_ns)
    engine.store.commit(engine.policy)
    return receipt


def payers(engine: Engine) -> list[tuple[Any, ...]]:
    """(span, customer, team, agent, app, product type, session) of all that counts, by span."""
    return engine.query(
        "SELECT sp.span_id, coalesce(c.customer_id, ''), team_id, agent_id, app_id, product_type, session_id"
        " FROM spans sp JOIN strands st ON st.strand_no = sp.strand_no AND st.trace_no = sp.trace_no"
        " JOIN payers p ON p.payer_no = st.payer_no LEFT JOIN customers c ON c.customer_no = p.customer_no"
        " LEFT JOIN sessions s ON s.session_no = st.session_no ORDER BY 1"
    )


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[dict[str, Any], Identity]]:
    """Spans of one trace, each under some credential, with some of their identity said."""
    count = draw(st.integers(2, 7))
    found = []
    for number in range(1, count + 1):
        said = draw(
            st.fixed_dictionaries({}, optional={
                "aforo__customer__id": st.sampled_from(["acme", "globex", "evil"]),
                "aforo__team__id": st.sampled_from(["t1", "t2"]),
                "aforo__agent__id": st.just("a1"),
                "aforo__product__type": st.just("MCP_SERVER"),
                "aforo__session__id": st.just("s"),
            })
        )  # fmt: skip
        parent = draw(st.integers(0, number - 1))
        make = draw(st.sampled_from([chat, tool]))
        found.append((make(number, parent, **said), draw(st.sampled_from(CALLERS))))
    return found


def test_what_was_filled_in_for_a_bill_is_not_handed_down(tmp_path: Path) -> None:
    """A span below one that a former process has stored inherits what that said, not the product type it got."""
    seen = []
    for restart in (False, True):
        (tmp_path / str(restart)).mkdir()
        engine = Engine(tmp_path / str(restart))
        send(engine, [chat(1, 0, aforo__customer__id="acme")], NOBODY)
        if restart:
            engine.restart()
        send(engine, [chat(2, 1)], ACME)
        seen.append(payers(engine)[1])
        engine.database.close()
    assert seen[0] == seen[1]
    assert seen[0][5] == "AI_AGENT"


@settings(max_examples=25, deadline=None)
@given(deliveries(), st.randoms(use_true_random=False), st.booleans())
def test_no_order_changes_who_pays(
    sent: list[tuple[dict[str, Any], Identity]], random: Any, restart: bool
) -> None:
    """However spans of one trace arrive, each has the same payer, and a credential's customer always pays."""
    seen = []
    for shuffled in (False, True):
        order = list(sent)
        if shuffled:
            random.shuffle(order)
        with TemporaryDirectory() as folder:
            engine = Engine(Path(folder))
            for span, caller in order:
                send(engine, [span], caller)
                if shuffled and restart:
                    engine.restart()
            seen.append(payers(engine))
            for span, caller in order:
                assert send(engine, [span], caller).duplicates == 1, "sent again it is the same"
            assert payers(engine) == seen[-1]
            engine.database.close()
    assert seen[0] == seen[1]
    by_span = {row[0]: row[1] for row in seen[0]}
    for span, caller in sent:
        if caller is not NOBODY:
            number = int.from_bytes(span["span_id"], "big")
            assert by_span.get(number, caller.customer_id) == caller.customer_id


def test_what_a_span_says_comes_before_what_its_credential_does(tmp_path: Path) -> None:
    """The customer is the credential's; the rest is the span's, then its parent's, then the credential's."""
    engine = Engine(tmp_path)
    said = {
        "aforo__customer__id": "acme",
        "aforo__agent__id": "planner",
        "aforo__product__type": "MCP_SERVER",
    }
    theirs = {"aforo__customer__id": "evil", "aforo__team__id": "t", "aforo__agent__id": "a"}
    send(engine, [chat(2, 1), tool(1, **said), tool(3, name="other", **theirs)], ACME)
    send(engine, [tool(4, 1, name="remote")], GLOBEX)
    rows = {row[0]: row[1:6] for row in payers(engine)}
    assert rows[1] == rows[2] == ("acme", "ops", "planner", "", "MCP_SERVER")
    assert rows[3] == ("acme", "ops", "bot", "", "AI_AGENT"), "nothing that was said of another customer"
    assert rows[4] == ("globex", "", "", "web", "AGENTIC_API"), "nothing of the span above, which others pay"
    engine.database.close()


def test_a_span_that_another_credential_sends_again_is_a_conflict(tmp_path: Path) -> None:
    """Who sent a span first has said who pays; the same span from another payer changes nothing."""
    engine = Engine(tmp_path)
    assert send(engine, [tool(1)], ACME).recorded == 1
    before = payers(engine)
    assert send(engine, [tool(1)], GLOBEX).conflicts == 1
    assert payers(engine) == before
    engine.database.close()
