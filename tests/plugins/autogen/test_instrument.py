"""`instrument()` meters the whole process and `uninstrument()` leaves nothing behind."""

import asyncio
import logging
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import autogen_core.logging
import autogen_core.models
import autogen_core.tools
import pytest
from aforo_autogen import instrument, instrumentor, uninstrument
from aforo_sdk import notices
from autogen_agentchat import base
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient
from autogen_core.tools import BaseTool, FunctionTool

from tests.plugins.autogen.clients import Bare, Scripted, says
from tests.plugins.spool import ReadSpans


def everything() -> dict[tuple[type, str], Any]:
    """What every class of the patched families has in its own namespace, under the patched names."""
    found = {}
    for patch in instrumentor.PATCHES:
        owner = getattr(sys.modules.get(patch.module), patch.owner, None)
        waiting = [owner] if owner is not None else []
        while waiting:
            cls = waiting.pop()
            waiting += cls.__subclasses__()
            for name in ("__init_subclass__", *patch.methods):
                found[cls, name] = cls.__dict__.get(name)
    return found


def later(parent: type) -> Any:
    """A client that is made now."""

    class Later(parent):  # type: ignore[misc, valid-type]
        async def create(self, messages: Any, **options: Any) -> Any:
            return says("later")

    return Later


def test_round_trip(spans: ReadSpans) -> None:
    """After `uninstrument()` every class is what it was, and no number of rounds piles anything up."""
    uninstrument()
    before = everything()
    assert not any(hasattr(value, "__aforo_original__") for value in before.values())
    for round_ in range(1, 4):
        instrument()
        changed = {key for key, value in everything().items() if value is not before.get(key)}
        assert (Scripted, "create") in changed
        asyncio.run(Scripted().create([]))
        uninstrument()
        assert {key: value for key, value in everything().items() if value is not before.get(key)} == {}
        asyncio.run(Scripted().create([]))
        assert len(spans()) == round_


def test_later_classes(spans: ReadSpans) -> None:
    """Classes made under `instrument()` are metered, and restored; those made after it are untouched."""
    made = later(Scripted)
    asyncio.run(made().create([]))
    assert len(spans()) == 1
    uninstrument()
    assert not hasattr(made.__dict__["create"], "__aforo_original__")
    assert "__init_subclass__" not in ChatCompletionClient.__dict__
    after = later(Scripted)
    assert not hasattr(after.__dict__["create"], "__aforo_original__")
    asyncio.run(after().create([]))
    assert len(spans()) == 1


def test_methods_from_elsewhere(spans: ReadSpans) -> None:
    """A client whose `create` comes from a class that is no client is metered; that class is left alone."""

    class Mixin:
        async def create(self, messages: Any, **options: Any) -> Any:
            return says()

    class Mixed(Mixin, Bare):
        create_stream = None  # type: ignore[assignment]

    asyncio.run(Mixed().create([]))
    assert len(spans()) == 1
    assert not hasattr(Mixin.create, "__aforo_original__")
    uninstrument()
    assert "create" not in Mixed.__dict__


def test_twice_is_once(spans: ReadSpans) -> None:
    """Instrumenting twice meters once, under the identity given last, and one `uninstrument()` undoes it."""
    instrument("first")
    instrument("second")
    asyncio.run(Scripted().create([]))
    assert [span["aforo.customer.id"] for span in spans()] == ["second"]
    uninstrument()
    uninstrument()
    asyncio.run(Scripted().create([]))
    assert len(spans()) == 1


def test_a_patch_over_ours_survives(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """If someone else has patched over ours, `uninstrument()` leaves theirs alone and ours does nothing."""
    ours = Scripted.create

    async def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await ours(self, *args, **kwargs)

    monkeypatch.setattr(Scripted, "create", theirs)
    uninstrument()
    assert Scripted.create is theirs
    asyncio.run(Scripted().create([]))
    assert spans() == []
    monkeypatch.undo()
    instrument()
    uninstrument()
    assert not hasattr(Scripted.__dict__["create"], "__aforo_original__")


def test_a_method_that_disappeared(
    spans: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A method or class that is gone gives one warning with version and feature; the rest is metered."""
    uninstrument()
    monkeypatch.delattr(autogen_core.tools.Workbench, "call_tool")
    monkeypatch.delattr(base, "Team")
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        instrument()
        instrument()
        uninstrument()
        instrument()
    agentchat, core = version("autogen-agentchat"), version("autogen-core")
    bench = "tool calls of workbenches"
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"autogen-agentchat {agentchat} has no Team: teams are not metered, everything else is.",
        f"autogen-core {core} has no Workbench.call_tool: {bench} are not metered, everything else is.",
    ]
    asyncio.run(Scripted().create([]))
    assert len(spans()) == 1


def test_a_method_that_changed_its_shape(spans: ReadSpans, caplog: pytest.LogCaptureFixture) -> None:
    """A stream that is none any more runs as it is, with one warning."""

    class Changed(Scripted):
        async def create_stream(self, messages: Any, **options: Any) -> Any:  # type: ignore[override]
            return "no stream"

    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        assert asyncio.run(Changed().create_stream([])) == "no stream"
        assert asyncio.run(Changed().create_stream([])) == "no stream"
    (record,) = caplog.records
    assert (
        f"Changed.create_stream returned no stream (autogen-core {version('autogen-core')}"
        in record.getMessage()
    )
    assert spans() == []


def test_plain_functions_for_coroutine_functions(spans: ReadSpans, caplog: pytest.LogCaptureFixture) -> None:
    """A method that hands a coroutine on is the call that runs there; one that gives nothing to await runs as it is,
    with one warning.
    """

    class Decorated(Scripted):
        def create(self, messages: Any, **options: Any) -> Any:
            return super().create(messages, **options)

    class Changed(Scripted):
        def create(self, messages: Any, **options: Any) -> Any:
            return "at once"

    assert asyncio.run(Decorated().create([])).content == "done"
    assert spans().one("chat")["aforo.usage.quality"] == "reported"
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        assert [Changed().create([]) for _ in range(2)] == ["at once"] * 2
    (record,) = caplog.records
    assert "Changed.create returned nothing to await (autogen-core " in record.getMessage()
    assert len(spans()) == 1


def test_a_tool_that_cannot_be_copied(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool of a plain function that has changed its form runs all the same, and its call is counted."""

    def lookup(city: str) -> str:
        return city

    def refuse(self: Any, protocol: Any) -> Any:
        raise TypeError("this tool is one of a kind")

    before = notices.counters().get("autogen_metering_errors", 0)
    monkeypatch.setattr(FunctionTool, "__reduce_ex__", refuse)
    tool = FunctionTool(lookup, "Look a city up.")
    assert asyncio.run(tool.run_json({"city": "Oslo"}, CancellationToken())) == "Oslo"
    assert not spans().one("execute_tool lookup").failed
    assert notices.counters()["autogen_metering_errors"] == before + 1
    notices._counters["autogen_metering_errors"] = before


def test_errors_of_metering_stay_here(
    spans: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Exceptions in our own code are counted and logged once; the program never sees them."""

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError

    before = notices.counters().get("autogen_metering_errors", 0)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "aforo_sdk"):
        patched.setattr("aforo_autogen.answers.answer_of", broken)
        assert asyncio.run(Scripted().create([])).content == "done"
        patched.setattr("aforo_autogen.answers.provider_of", broken)
        assert asyncio.run(Scripted().create([])).content == "done"
        patched.setattr("aforo_autogen.answers.asks_for_usage", broken)
    assert notices.counters()["autogen_metering_errors"] == before + 2
    assert len(caplog.records) == 1
    notices._counters["autogen_metering_errors"] = before


def test_open_runs_still_end(spans: ReadSpans) -> None:
    """What is running at `uninstrument()` is metered to its end."""

    class Slow(Scripted):
        async def create(self, messages: Any, **options: Any) -> Any:
            uninstrument()
            return says()

    asyncio.run(Slow().create([]))
    assert spans().one("chat")["aforo.usage.quality"] == "reported"


LATE = """
import sys
import aforo_autogen
assert not {"autogen_core", "autogen_agentchat", "ag2", "openai"} & set(sys.modules)
aforo_autogen.instrument()
finders = list(sys.meta_path)
assert "autogen_core" not in sys.modules
import autogen_core.models
import autogen_agentchat.agents, autogen_agentchat.teams
assert hasattr(autogen_agentchat.teams.BaseGroupChat.run_stream, "__aforo_original__")
assert hasattr(autogen_agentchat.agents.AssistantAgent.on_messages, "__aforo_original__")
assert "exec_module" not in vars(autogen_core.models.__loader__)
assert "ag2" not in sys.modules
import ag2
assert hasattr(ag2.Agent._drive_scope, "__aforo_original__")
aforo_autogen.uninstrument()
assert sys.meta_path == finders[1:]
assert not hasattr(autogen_agentchat.teams.BaseGroupChat.run_stream, "__aforo_original__")
assert not hasattr(ag2.Agent._drive_scope, "__aforo_original__")
"""


def test_frameworks_may_come_later() -> None:
    """`instrument()` imports no framework, and meters each as soon as the program imports it."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", LATE], check=True, timeout=120)


def test_generic_and_abstract_classes_stay_what_they_are(spans: ReadSpans) -> None:
    """Abstract methods stay abstract, and generic bases can be subscripted and subclassed."""
    with pytest.raises(TypeError, match="abstract"):
        BaseTool(dict, dict, "x", "x")  # type: ignore[abstract, type-var]
    assert BaseTool[Any, Any]
