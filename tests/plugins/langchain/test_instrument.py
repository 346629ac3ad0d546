"""`instrument()` meters the whole process and `uninstrument()` leaves nothing behind."""

from typing import Any

import pytest
from aforo_langchain import AforoCallbackHandler, instrument, uninstrument
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import context

from tests.plugins.langchain.models import ScriptedChat
from tests.plugins.spool import ReadSpans


def chain() -> Any:
    """Return a chain of a function and a model."""
    return RunnableLambda(lambda x: x, name="echo") | ScriptedChat()


def test_round_trip(spans: ReadSpans) -> None:
    """After `uninstrument()` LangChain is what it was, and no number of rounds piles anything up."""
    constructor, hooks = BaseCallbackManager.__init__, list(context._configure_hooks)
    for round_ in range(1, 4):
        instrument()
        assert BaseCallbackManager.__init__ is not constructor
        chain().invoke("a")
        uninstrument()
        assert BaseCallbackManager.__init__ is constructor
        chain().invoke("a")
        assert len(spans()) == 3 * round_
    assert context._configure_hooks == hooks


def test_twice_is_once(spans: ReadSpans) -> None:
    """Instrumenting twice meters once, under the identity given last, and one `uninstrument()` undoes it."""
    constructor = BaseCallbackManager.__init__
    instrument(customer_id="first")
    instrument(customer_id="second")
    chain().invoke("a")
    assert [span["aforo.customer.id"] for span in spans()] == ["second"] * 3
    uninstrument()
    uninstrument()
    assert BaseCallbackManager.__init__ is constructor


def test_one_tree(spans: ReadSpans) -> None:
    """Runs found by `instrument()` form the tree that an explicit handler gives."""
    instrument()
    chain().invoke("a")
    seen = spans()
    assert seen.path(seen.one("chat stub-1")) == ["invoke_workflow RunnableSequence", "chat stub-1"]
    assert len(seen) == 3


def test_explicit_handler_beside_instrument(spans: ReadSpans) -> None:
    """A run with its own handler under `instrument()` is metered once, under the handler's identity."""
    instrument(customer_id="process")
    chain().invoke("a", {"callbacks": [AforoCallbackHandler("explicit")]})
    assert [span["aforo.customer.id"] for span in spans()] == ["explicit"] * 3


def test_the_callers_lists_stay_untouched(spans: ReadSpans) -> None:
    """Our handler never enters a list that belongs to the program."""
    instrument()
    own: list[BaseCallbackHandler] = []
    manager = CallbackManager(own)
    assert (own, len(manager.handlers)) == ([], 1)


def test_managers_made_before_uninstrument_go_quiet(spans: ReadSpans) -> None:
    """A callback manager that lives on after `uninstrument()` meters nothing new, but open runs still end."""
    instrument()
    manager = CallbackManager([])
    run = manager.on_chain_start({}, "a", name="open")
    uninstrument()
    manager.on_chain_start({}, "b", name="late")
    run.on_chain_end("a")
    assert [span.name for span in spans()] == ["invoke_workflow open"]


def test_a_patch_over_ours_survives(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """If someone else has patched over ours, `uninstrument()` leaves theirs alone and ours does nothing."""
    instrument()
    ours = BaseCallbackManager.__init__

    def theirs(self: Any, *args: Any, **kwargs: Any) -> None:
        ours(self, *args, **kwargs)

    monkeypatch.setattr(BaseCallbackManager, "__init__", theirs)
    uninstrument()
    assert BaseCallbackManager.__init__ is theirs
    chain().invoke("a")
    assert spans() == []
    monkeypatch.undo()
    uninstrument()
    chain().invoke("a")
    assert spans() == []
