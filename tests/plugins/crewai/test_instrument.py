"""`instrument()` meters the whole process and `uninstrument()` leaves nothing behind."""

import contextvars
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aforo_crewai
import pytest
from aforo_crewai import instrumentor, metering
from aforo_sdk import notices
from crewai import hooks
from crewai.events import crewai_event_bus
from crewai.events.event_bus import CrewAIEventsBus
from crewai.events.event_context import restore_event_scope
from crewai.events.types.crew_events import CrewKickoffStartedEvent

from tests.fake_openai import FakeOpenAI
from tests.plugins.crewai.crews import Silent, agent, crew, model, task
from tests.plugins.spool import ReadSpans, read

SCRIPT = """
import aforo_crewai, aforo_sdk, sys, os
sys.path.insert(0, os.getcwd())
aforo_sdk.init(endpoint="http://127.0.0.1:9", spool_dir=sys.argv[1], customer_id="acme")
aforo_crewai.instrument()
from tests.plugins.crewai.crews import crew, Silent, LLM
crew(LLM(model="openai/stub-1", base_url=sys.argv[2], api_key="none")).kickoff()
os._exit(0)
"""


class Team:
    """As much of a crew as CrewAI's own handlers ask for."""

    id = "team"
    name = "team"
    fingerprint = None


def begin(name: str) -> None:
    """Emit the start of a crew that never ends, in a context that ends here."""
    event = CrewKickoffStartedEvent(crew_name=name, inputs=None)
    contextvars.copy_context().run(crewai_event_bus.emit, Team(), event)


def state() -> tuple[Any, ...]:
    """All of CrewAI that is shared by the process and could be changed."""
    bus = crewai_event_bus
    return (
        CrewAIEventsBus.emit,
        dict(bus._sync_handlers),
        dict(bus._async_handlers),
        dict(bus._handler_dependencies),
        [hooks.get_hooks(point) for point in hooks.InterceptionPoint],
    )


def test_round_trip(spans: ReadSpans, server: FakeOpenAI) -> None:
    """After `uninstrument()` CrewAI is what it was, and no number of rounds piles anything up."""
    before = state()
    for rounds in range(1, 4):
        aforo_crewai.instrument()
        assert state() != before
        crew(model(server)).kickoff()
        aforo_crewai.uninstrument()
        assert state() == before
        crew(model(server)).kickoff()
        assert len(spans()) == 4 * rounds


def test_twice_is_once(spans: ReadSpans, server: FakeOpenAI) -> None:
    """Instrumenting twice meters once, under the identity given last, and one `uninstrument()` undoes it."""
    before = state()
    aforo_crewai.instrument(customer_id="first")
    aforo_crewai.instrument(customer_id="second")
    crew(model(server)).kickoff()
    crew(Silent(model="mine")).kickoff()
    assert [span["aforo.customer.id"] for span in spans()] == ["second"] * 8
    aforo_crewai.uninstrument()
    aforo_crewai.uninstrument()
    assert state() == before


def test_a_patch_over_ours_survives(
    spans: ReadSpans, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If someone else has patched over ours, `uninstrument()` leaves theirs alone and ours does nothing."""
    aforo_crewai.instrument()
    ours = CrewAIEventsBus.emit

    def theirs(self: Any, source: Any, event: Any) -> Any:
        return ours(self, source, event)

    monkeypatch.setattr(CrewAIEventsBus, "emit", theirs)
    aforo_crewai.uninstrument()
    assert CrewAIEventsBus.emit is theirs
    crew(model(server)).kickoff()
    assert spans() == []
    aforo_crewai.instrument()
    crew(model(server)).kickoff()
    assert len(spans()) == 4
    monkeypatch.undo()
    aforo_crewai.uninstrument()


def test_replayed_events(metered: ReadSpans) -> None:
    """What is replayed from a checkpoint has been metered when it happened."""
    event = CrewKickoffStartedEvent(crew_name="again", inputs=None)
    future = crewai_event_bus.replay(object(), event)
    if future is not None:
        future.result()
    metering.close_all()
    assert metered() == []


def test_a_run_that_began_elsewhere(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A run that goes on from a checkpoint says what it is part of, but its start was never emitted here: it
    is one trace, and the next run is another.
    """

    def go_on() -> None:
        restore_event_scope((("elsewhere", "crew_kickoff_started"),))
        for _ in range(2):
            task(agent(model(server))).execute_sync()
        crew(model(server), name="next").kickoff()

    contextvars.copy_context().run(go_on)
    seen = metered()
    after = seen.one("invoke_workflow next")
    before = [span for span in seen if span.trace != after.trace]
    assert (len(before), len(seen) - len(before)) == (6, 4)
    assert len({span.trace for span in before}) == 1
    assert sorted(span["aforo.step.index"] for span in before if span["aforo.step.type"]) == [0, 1]


def test_a_run_that_is_open(spans: ReadSpans) -> None:
    """A run that is open at `uninstrument()` is written as it stands."""
    aforo_crewai.instrument()
    begin("open")
    aforo_crewai.uninstrument()
    assert spans().one("invoke_workflow open")["error.type"] == "_OTHER"


def test_a_part_that_is_gone(
    spans: ReadSpans, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A part of CrewAI that is not there gives one warning, with version and name, and the rest is metered."""
    monkeypatch.delattr(hooks, "register_hook")
    notices.forget()
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        aforo_crewai.instrument()
        aforo_crewai.instrument()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "aforo_sdk"]
    assert line.startswith("aforo-crewai: crewai 1.")
    assert "crewai.hooks.register_hook" in line
    crew(model(server)).kickoff()
    assert len(spans()) == 4
    aforo_crewai.uninstrument()


def test_a_field_that_is_gone(
    spans: ReadSpans, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An event that has lost a field gives one warning that names it."""
    lost = instrumentor.EVENTS[2]._replace(fields=("usage", "vanished"))
    monkeypatch.setattr(instrumentor, "EVENTS", (lost,))
    notices.forget()
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        aforo_crewai.instrument()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "aforo_sdk"]
    assert "LLMCallCompletedEvent.vanished: tokens may be missing" in line


def test_parts_that_have_changed(
    spans: ReadSpans, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A part of CrewAI that takes other arguments, or has another form, costs one warning each that names version
    and part; the program runs on, and what does not hang on it is metered.
    """
    emit = CrewAIEventsBus.emit

    def emit_more(self: Any, source: Any, event: Any, *, urgent: bool = False) -> Any:
        return emit(self, source, event)

    def register(point: Any, *, hook: Any) -> None:
        raise AssertionError("never called with a hook")

    monkeypatch.setattr(CrewAIEventsBus, "emit", emit_more)
    monkeypatch.setattr(hooks, "register_hook", register)
    notices.forget()
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        aforo_crewai.instrument()
        event = CrewKickoffStartedEvent(crew_name="urgent", inputs=None)
        contextvars.copy_context().run(crewai_event_bus.emit, source=Team(), event=event, urgent=True)
        monkeypatch.setattr(instrumentor, "_equip", len)  # stands for a loop in another form
        assert str(crew(model(server)).kickoff()) == "done"
        aforo_crewai.uninstrument()
    lines = [record.getMessage() for record in caplog.records if record.name == "aforo_sdk"]
    named = [line.partition(" with crewai 1.")[0] for line in lines]
    assert named == ["aforo-crewai: register", "aforo-crewai: emit"]
    assert spans().one("invoke_workflow urgent")


def test_a_loop_without_hooks(
    metered: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a silent model cannot be seen any more, one warning names version and part."""
    notices.forget()
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        instrumentor._equip(type("AgentExecutor", (), {"llm": object()})())
        instrumentor._equip(type("AgentExecutor", (), {"llm": object(), "after_llm_call_hooks": []})())
    lines = [record.getMessage() for record in caplog.records if record.name == "aforo_sdk"]
    assert [line.startswith("aforo-crewai: crewai 1.") for line in lines] == [True, True]
    assert "AgentExecutor.before_llm_call_hooks: models that emit no events" in lines[0]


def test_trouble_of_ours(
    metered: ReadSpans, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of metering is counted and logged once, and the program never sees it."""

    def explode(*arguments: Any) -> None:
        raise ZeroDivisionError("ours")

    notices.forget()
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING, "aforo_sdk"):
        broken.setattr("aforo_crewai.mapping.moment_of", explode)
        broken.setattr("aforo_crewai.scopes.SCOPES.around", explode)
        assert str(crew(model(server)).kickoff()) == "done"
    assert notices.counters()["crewai_handler_errors"] > 5
    lines = [record.getMessage() for record in caplog.records if record.name == "aforo_sdk"]
    assert len(lines) == len(set(lines)) <= 3


def test_a_process_that_ends_at_once(tmp_path: Path, server: FakeOpenAI) -> None:
    """A script that kicks off and ends, even without its exit handlers, has all of its run in the spool."""
    arguments = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "spool"), server.url]
    subprocess.run(arguments, check=True, timeout=120, capture_output=True)
    assert sorted(span.name for span in read(tmp_path / "spool")) == [
        "chat stub-1",
        "invoke_agent researcher",
        "invoke_workflow weather",
        "task",
    ]


def test_importing_loads_no_framework() -> None:
    """`import aforo_crewai` does not import CrewAI: that is left to `instrument()`."""
    code = "import aforo_crewai, sys; sys.exit('crewai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_trees_that_see_nothing_new(metered: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that has seen nothing new for an hour is written when the next one starts."""
    from aforo_crewai.scopes import SCOPES

    begin("stale")
    hour_later_ns = time.time_ns() + 3_700 * 1_000_000_000
    monkeypatch.setattr(metering, "time_ns", lambda: hour_later_ns)
    begin("next")
    assert [span.name for span in metered()] == ["invoke_workflow stale"]
    assert len(SCOPES) == 1
    metering.close_all()
