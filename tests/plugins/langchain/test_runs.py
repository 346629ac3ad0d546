"""The table of open runs: bounded, idempotent, empty when all is done; and the handler's promise never to
raise.
"""

import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aforo_langchain import AforoCallbackHandler
from aforo_langchain.runs import RUNS, OpenRun, RunTable
from aforo_langchain.scopes import root_scope
from aforo_langchain.spans import chain
from aforo_sdk.plugin import Identity, model_call
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from tests.plugins.langchain.models import ScriptedChat, asks, says
from tests.plugins.spool import ReadSpans, read

SECOND = 1_000_000_000


def run(parent: OpenRun | None = None, start_ns: int = 0) -> OpenRun:
    """Return an open run with an id of its own, a chain or (below a parent) a model call."""
    scope = parent.scope if parent else root_scope(Identity(), {}, None)[0]
    opening = model_call("chat", "", "m") if parent else chain("c", None, is_root=True)
    around = scope.tree.place()
    return OpenRun(uuid4(), parent, {}, scope, opening, 1, 0, start_ns, b"", False, None, around)


def test_the_first_end_wins(spans: ReadSpans) -> None:
    """Ends that come again, or for runs never seen, are nothing."""
    handler, run_id = AforoCallbackHandler(), uuid4()
    handler.on_chain_start({}, {}, run_id=run_id, name="once")
    handler.on_chain_end({}, run_id=run_id)
    handler.on_chain_end({}, run_id=run_id)
    handler.on_chain_error(ValueError(), run_id=run_id)
    handler.on_llm_end(None, run_id=uuid4())
    handler.on_tool_error(ValueError(), run_id=uuid4())
    assert [(span.name, span.failed) for span in spans()] == [("invoke_workflow once", False)]


def test_idle_trees_are_taken_whole() -> None:
    """A tree that saw no new run for longer than the bound is taken, innermost first; a busy tree of that age
    stays.
    """
    table = RunTable(idle_max_s=100)
    idle, busy = run(), run()
    below = run(idle)
    for entered in (idle, busy, below, run(busy, start_ns=150 * SECOND)):
        table.add(entered)
    assert table.take_left_open(100 * SECOND) == []
    assert table.take_left_open(101 * SECOND) == []  # no sweep is due yet
    assert table.take_left_open(200 * SECOND) == [below, idle]
    assert len(table) == 2


def test_the_number_of_open_runs_is_bounded() -> None:
    """Over the bound the oldest trees are taken."""
    table = RunTable(open_max=3)
    runs = [run(start_ns=number) for number in range(5)]
    for entered in runs:
        table.add(entered)
    assert table.take_left_open(10) == runs[:2]
    assert len(table) == 3


def test_a_call_left_open_is_written_when_it_is_taken(
    spans: ReadSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone model call whose end never comes is written, its tokens missing, once it has idled too long."""
    table = RunTable(idle_max_s=0)
    monkeypatch.setattr("aforo_langchain.metering.RUNS", table)
    handler, lost = AforoCallbackHandler(), uuid4()
    handler.on_chat_model_start({}, [], run_id=lost, metadata={"ls_model_name": "m"})
    table._next_sweep_ns = 0
    handler.on_chain_start({}, {}, run_id=uuid4(), name="next")
    span = spans().one("chat m")
    assert (span["error.type"], span["aforo.usage.quality"], span.failed) == ("_OTHER", "missing", True)


def test_runs_open_at_exit_are_written(tmp_path: Path) -> None:
    """What is open when the interpreter exits is written, its tokens missing."""
    program = """
import sys, uuid, aforo_sdk
from aforo_langchain import AforoCallbackHandler
aforo_sdk.init(endpoint="http://127.0.0.1:9", spool_dir=sys.argv[1])
AforoCallbackHandler().on_chat_model_start({}, [], run_id=uuid.uuid4(), metadata={"ls_model_name": "m"})
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    span = read(tmp_path).one("chat m")
    assert (span["error.type"], span["aforo.usage.quality"]) == ("_OTHER", "missing")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_owns_no_runs(tmp_path: Path) -> None:
    """A child of a fork does not end the runs of its parent, which would bill them twice."""
    program = """
import os, sys, uuid, aforo_sdk
from aforo_langchain import AforoCallbackHandler
aforo_sdk.init(endpoint="http://127.0.0.1:9", spool_dir=sys.argv[1])
handler, run_id = AforoCallbackHandler(), uuid.uuid4()
handler.on_chain_start({}, {}, run_id=run_id, name="forking")
child = os.fork()
handler.on_chain_end({}, run_id=run_id)
if child:
    os.waitpid(child, 0)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert [span.name for span in read(tmp_path)] == ["invoke_workflow forking"]


UNHASHABLE: Any = []


CALLBACKS = sorted(name for name in vars(AforoCallbackHandler) if name.startswith("on_"))


@pytest.mark.parametrize("callback", CALLBACKS)
def test_no_callback_ever_raises(spans: ReadSpans, callback: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Every callback swallows every error of its own, and prints nothing."""
    arguments = (None, None) if callback.endswith("start") else (ValueError("x"),)
    getattr(AforoCallbackHandler(), callback)(*arguments, run_id=UNHASHABLE)
    assert capfd.readouterr() == ("", "")
    assert len(RUNS) == 0


def test_memory_does_not_grow(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten thousand runs of a small agent no run is open and the heap has not grown."""
    monkeypatch.setattr("aforo_sdk.plugin.emit", lambda *span: None)
    handler = AforoCallbackHandler()

    def one_run(number: int) -> None:
        root, call, tool = uuid4(), uuid4(), uuid4()
        handler.on_chain_start({}, {}, run_id=root, name="agent", metadata={"thread_id": str(number)})
        handler.on_chat_model_start({}, [], run_id=call, parent_run_id=root, metadata={"ls_model_name": "m"})
        handler.on_llm_end(None, run_id=call)
        handler.on_tool_start({}, "", run_id=tool, parent_run_id=root, name="t", tool_call_id=str(number))
        if number % 10:
            handler.on_tool_end("", run_id=tool)
        handler.on_chain_end({}, run_id=root)

    for number in range(5_000):
        one_run(number)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(5_000, 15_000):
        one_run(number)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(RUNS) == 0
    assert after - before < 4_000_000  # bounded caches may turn over; 10,000 runs kept would be far more


def test_real_runs_leave_nothing_open(spans: ReadSpans) -> None:
    """Hundreds of real runs, failing and succeeding, leave the table of open runs empty."""
    model = ScriptedChat(replies=[asks(("t", {})), ValueError("x"), says()] * 60)

    def work(word: str, config: RunnableConfig) -> Any:
        return model.invoke([HumanMessage(word)], config)

    for _ in range(180):
        try:
            RunnableLambda(work).invoke("a", {"callbacks": [AforoCallbackHandler()]})
        except ValueError:
            pass
    assert len(RUNS) == 0
    assert len(spans()) == 360
