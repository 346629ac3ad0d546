"""AutoGen and AG2: an agent that calls its model, a tool, and its model again; and AutoGen's lone model call.

AutoGen's model is its own OpenAI client on an API that answers at once, AG2's the one it has for tests.
"""

from typing import Any

from plugin_variants import (
    ANSWER,
    FOUND,
    MODEL,
    QUESTION,
    RULES,
    TOOL,
    Measured,
    Subject,
    Variant,
    chat_completion,
    instrumented,
    is_answered,
    our_spool,
    repeated,
    tracing,
)

CALLS = 3


def lookup_usage(customer: str, month: str) -> str:
    """Look usage up."""
    return FOUND


def client() -> Any:
    """AutoGen's client of OpenAI, whose API answers at once."""
    from autogen_core.models import ModelFamily
    from autogen_ext.models.openai import OpenAIChatCompletionClient
    from openai.resources.chat.completions import AsyncCompletions

    answers = {is_final: chat_completion(is_final) for is_final in (False, True)}

    async def create(self: Any, **asked: Any) -> Any:
        return answers[is_answered(asked["messages"])]

    AsyncCompletions.create = create  # type: ignore[assignment]
    return OpenAIChatCompletionClient(
        model=MODEL,
        base_url="http://127.0.0.1:9",
        api_key="none",
        model_info={
            "vision": False,
            "function_calling": True,
            "json_output": True,
            "structured_output": True,
            "family": ModelFamily.GPT_4O,
        },
    )


def agent_run() -> Variant:
    """The agent's run as it is."""
    from autogen_agentchat.agents import AssistantAgent

    agent = AssistantAgent(
        "assistant", client(), tools=[lookup_usage], system_message=RULES, reflect_on_tool_use=True
    )

    async def run() -> None:
        await agent._model_context.clear()
        await agent.run(task=QUESTION)

    return Variant(repeated(run))


def model_call() -> Variant:
    """A lone model call as it is."""
    from autogen_core.models import UserMessage

    model = client()
    asked = [UserMessage(content=QUESTION, source="user")]
    return Variant(repeated(lambda: model.create(asked)))


def _ours(run: Variant) -> Measured:
    import aforo_autogen

    return Measured(
        run,
        run._replace(enter=aforo_autogen.instrument, leave=aforo_autogen.uninstrument),
        our_spool(),
    )


def _openinference(run: Variant) -> Measured:
    from openinference.instrumentation.autogen_agentchat import AutogenAgentChatInstrumentor

    return instrumented(run, AutogenAgentChatInstrumentor())


def _native(run: Variant) -> Measured:
    """AutoGen's own spans, which it writes wherever there is a global provider."""
    from opentelemetry import trace

    traced = tracing()

    def provide(provider: Any) -> None:  # the API sets the provider once and for all
        trace._TRACER_PROVIDER = provider

    metered = Variant(
        run.play, lambda: provide(traced.provider), lambda: provide(None), traced.provider.force_flush
    )
    return Measured(run, metered, traced.span_count)


def ag2_agent(*middleware: Any) -> Variant:
    """The run of AG2's agent, with some middleware."""
    from ag2 import Agent
    from ag2.events import ModelMessage, ModelResponse, ToolCallEvent, ToolCallsEvent, Usage
    from ag2.testing import TestConfig

    told = {"usage": Usage(812, 96, 908, 512, None, 32), "model": MODEL, "provider": "openai"}
    call = ToolCallEvent(id="call_1", name=TOOL, arguments='{"customer": "42", "month": "2026-09"}')
    config = TestConfig(
        ModelResponse(tool_calls=ToolCallsEvent([call]), response_id="r1", **told),
        ModelResponse(ModelMessage(ANSWER), response_id="r2", **told),
        provider="openai",
        model=MODEL,
    )
    agent = Agent("assistant", RULES, config=config, tools=[lookup_usage], middleware=list(middleware))
    return Variant(repeated(lambda: agent.ask(QUESTION)))


def ag2_by_hand() -> Measured:
    """Our middleware, given to the agent."""
    from aforo_autogen.ag2 import AforoAG2Middleware
    from ag2.middleware import Middleware

    span_count = our_spool()
    return Measured(ag2_agent(), ag2_agent(Middleware(AforoAG2Middleware)), span_count)


def ag2_native() -> Measured:
    """AG2's own `TelemetryMiddleware`."""
    from ag2.middleware import TelemetryMiddleware

    traced = tracing()
    metered = ag2_agent(TelemetryMiddleware(tracer_provider=traced.provider, agent_name="assistant"))
    return Measured(ag2_agent(), metered._replace(settle=traced.provider.force_flush), traced.span_count)


OURS = ("autogen_agentchat", "aforo_autogen")
OPENINFERENCE = ("autogen_agentchat", "openinference.instrumentation.autogen_agentchat")
SUBJECTS = [
    Subject("AutoGen agent", "aforo", CALLS, OURS, lambda: _ours(agent_run()), is_ours=True),
    Subject("AutoGen agent", "OpenInference", CALLS, OPENINFERENCE, lambda: _openinference(agent_run())),
    Subject("AutoGen agent", "AutoGen's own", CALLS, ("autogen_agentchat",), lambda: _native(agent_run())),
    Subject("AutoGen model call", "aforo", 1, OURS, lambda: _ours(model_call()), is_ours=True),
    Subject("AutoGen model call", "OpenInference", 1, OPENINFERENCE, lambda: _openinference(model_call())),
    Subject("AG2 agent", "aforo", CALLS, ("ag2", "aforo_autogen"), lambda: _ours(ag2_agent()), is_ours=True),
    Subject("AG2 agent", "aforo, by hand", CALLS, ("ag2", "aforo_autogen"), ag2_by_hand, is_ours=True),
    Subject("AG2 agent", "TelemetryMiddleware", CALLS, ("ag2", "opentelemetry.sdk"), ag2_native),
]
