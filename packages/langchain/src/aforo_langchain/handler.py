"""The callback handler: LangChain's events in, one line each, one finished span per run out.

A start keeps a tuple; the end builds the span and writes it. No message is read, copied or kept.
"""

from typing import Any
from uuid import UUID

from aforo_sdk import conventions as c
from aforo_sdk.plugin import Identity
from langchain_core.callbacks import BaseCallbackHandler

from aforo_langchain import metering


class AforoCallbackHandler(BaseCallbackHandler):
    """Meters every run it sees, under the identity given here and, for the rest, that of the context.

    One handler serves any number of runs, threads and tasks: `chain.invoke(x, {"callbacks": [handler]})`. A
    run that several handlers see is metered once, by the first of them. Nothing here ever raises.
    """

    run_inline = True  # otherwise every callback of `ainvoke` takes a hop to a thread, thirty times its cost
    raise_error = False

    # LangChain asks for these at every event: plain values, where the base class computes properties.
    ignore_llm = ignore_chat_model = ignore_chain = ignore_agent = ignore_retriever = False
    ignore_retry = ignore_custom_event = True

    def __init__(
        self,
        customer_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        *,
        team_id: str | None = None,
        app_id: str | None = None,
        product_type: str | None = None,
    ) -> None:
        self._identity = Identity(customer_id, team_id, agent_id, app_id, session_id, product_type)
        self._active = True

    def stop(self) -> None:
        """Meter no further run. Runs that are open still end."""
        self._active = False

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **told: Any) -> None:
        """A chain, graph, node or agent begins."""
        if self._active:
            metering.start_chain(self._identity, run_id, serialized, told)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **told: Any) -> None:
        """A chat model is called."""
        if self._active:
            metering.start_call(self._identity, run_id, c.CHAT, serialized, told)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **told: Any) -> None:
        """A text completion model is called."""
        if self._active:
            metering.start_call(self._identity, run_id, c.TEXT_COMPLETION, serialized, told)

    def on_tool_start(self, serialized: Any, input_str: Any, *, run_id: UUID, **told: Any) -> None:
        """A tool is called."""
        if self._active:
            metering.start_call(self._identity, run_id, c.EXECUTE_TOOL, serialized, told)

    def on_retriever_start(self, serialized: Any, query: Any, *, run_id: UUID, **told: Any) -> None:
        """A retriever searches."""
        if self._active:
            metering.start_call(self._identity, run_id, c.RETRIEVAL, serialized, told)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **told: Any) -> None:
        """A chain has its result."""
        metering.end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """A chain was left by an exception."""
        metering.fail(run_id, error)

    def on_llm_end(self, response: Any, *, run_id: UUID, **told: Any) -> None:
        """A model has answered."""
        metering.end_model(run_id, response)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, response: Any = None, **told: Any) -> None:
        """A model call failed, or its stream was left; `response` is what had come until then."""
        metering.fail_model(run_id, error, response)

    def on_tool_end(self, output: Any, *, run_id: UUID, **told: Any) -> None:
        """A tool has its result."""
        metering.end_tool(run_id, output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """A tool raised."""
        metering.fail(run_id, error)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **told: Any) -> None:
        """A retriever has searched."""
        metering.end(run_id)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """A retriever raised."""
        metering.fail(run_id, error)
