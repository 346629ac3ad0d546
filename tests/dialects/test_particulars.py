"""What single dialects do that a renaming alone would bill wrongly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aforo_collector.domain.span import Role, Span, Tokens
from aforo_collector.doors.otlp import PROTOBUF, Rejection, decode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .calls import CANON, read_of
from .wire import END_NS, SPAN_ID, TRACE_ID, Scalar, Written, read, read_json
from .writers import WRITERS

CHAT = CANON["plain chat"]
NEVER_SUMMED: dict[str, Scalar] = {
    "gen_ai.usage.total_tokens": 9_999,
    "llm.usage.total_tokens": 9_999,
    "llm.token_count.total": 9_999,
    "ag2.usage.total_tokens": 9_999,
    "gen_ai.usage.details.cache_read_tokens": 9_999,
    "gen_ai.usage.details.input_tokens": 9_999,
    "gen_ai.aggregated_usage.input_tokens": 9_999,
    "gen_ai.aggregated_usage.output_tokens": 9_999,
    "crewai.crew.usage_metrics": '{"total_tokens": 9999}',
    "crewai.crew.token_usage": "total_tokens=9999",
    "crewai.flow.aggregated_crew_usage_metrics": '{"total_tokens": 9999}',
}


def made(scope: str, name: str, failed: bool = False, **attributes: Scalar) -> Span:
    """A span of a scope; attribute names have __ for the dot."""
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return read(Written(scope, name, named, failed))


@pytest.mark.parametrize("spelling", WRITERS)
def test_totals_that_repeat_are_never_counted(spelling: str) -> None:
    """Sums and second spellings beside the counts change nothing, on calls and on agents."""
    writer = WRITERS[spelling]
    for call in CANON.values():
        if call.kind in writer.kinds:
            written = writer.write(call)
            more = written._replace(attributes={**NEVER_SUMMED, **written.attributes})
            assert read_of(read(more)) == read_of(read(written))


@pytest.mark.parametrize("spelling", WRITERS)
def test_our_attributes_hold_in_every_dialect(spelling: str) -> None:
    """What a program says with `aforo.*` goes before what any instrumentation says or makes up."""
    writer = WRITERS[spelling]
    call = next(call for call in CANON.values() if call.kind in writer.kinds)
    written = writer.write(call)
    ours: dict[str, Scalar] = {
        "aforo.customer.id": "acme",
        "aforo.agent.id": "guide",
        "aforo.session.id": "s-1",
        "aforo.step.type": "HANDOFF",
        "aforo.usage.quality": "partial",
        "aforo.provider_cost": "0.25",
    }
    span = read(written._replace(attributes={**written.attributes, **ours}))
    assert span.identity[:3] == ("acme", "", "guide")
    assert span.identity.session_id == "s-1"
    if span.role == Role.MODEL:
        assert (span.step_type, span.quality) == ("HANDOFF", "partial")
    if span.role == Role.TOOL:
        assert (span.step_type, span.reported_cost) == ("HANDOFF", "0.25")


@pytest.mark.parametrize(
    ("pool", "name"),
    [
        ("cache_read", "cache_read.input_tokens"),
        ("cache_read", "cache_read_input_tokens"),
        ("cache_read", "input_tokens.cached"),
        ("cache_write", "cache_write.input_tokens"),
        ("cache_write", "cache_creation.input_tokens"),
        ("cache_write", "cache_creation_input_tokens"),
        ("cache_write", "cache_write_input_tokens"),
        ("reasoning", "reasoning.output_tokens"),
        ("reasoning", "reasoning_tokens"),
        ("reasoning", "thinking_tokens"),
        ("reasoning", "output_tokens.reasoning"),
    ],
)
@pytest.mark.parametrize("scope", ["mine", "pydantic-ai", "traceloop.tracer"])
def test_every_name_of_a_part_is_known_whoever_writes_it(pool: str, name: str, scope: str) -> None:
    """A part of a total that is not recognised would be billed at the total's price."""
    said: dict[str, Scalar] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        f"gen_ai.usage.{name}": 20,
    }
    assert read(Written(scope, "chat", said)).tokens == Tokens(100, 50)._replace(**{pool: 20})


@pytest.mark.parametrize("key", ["gen_ai.conversation.id", "gen_ai.session.id", "langfuse.session.id"])
@pytest.mark.parametrize("scope", ["mine", "pydantic-ai", "traceloop.tracer"])
def test_every_name_of_a_session_is_known_whoever_writes_it(key: str, scope: str) -> None:
    """OpenLIT and Langfuse name sessions in ways of their own; a conversation is the better name."""
    said: dict[str, Scalar] = {"gen_ai.operation.name": "chat", key: "s-1"}
    assert read(Written(scope, "chat", said)).identity.session_id == "s-1"
    said |= {"gen_ai.conversation.id": "c-1"}
    assert read(Written(scope, "chat", said)).identity.session_id == "c-1"


def test_usage_recorded_by_hand_may_travel_in_any_scope() -> None:
    """A usage event on a span of somebody's tracer is a usage event."""
    recorded: dict[str, Scalar] = {
        "aforo.operation.name": "record_usage",
        "aforo.metric.name": "pages",
        "aforo.quantity": "3",
    }
    for scope in ("logfire", "crewai", "traceloop.tracer", "mine"):
        assert read(Written(scope, "pages", recorded)).role == Role.USAGE


@pytest.mark.parametrize(
    "spelling", ["openinference langchain", "openinference openai", "openllmetry before"]
)
def test_a_marker_tells_where_the_scope_does_not(spelling: str) -> None:
    """Another language's instrumentation has another scope; what its spans carry is enough."""
    writer = WRITERS[spelling]
    for call in CANON.values():
        if call.kind in writer.kinds:
            written = writer.write(call)
            elsewhere = written._replace(scope="io.example.tracer")
            assert read_of(read(elsewhere)) == read_of(read(written))


def test_a_count_that_is_none_rejects_the_span_under_its_own_name() -> None:
    """The reason names the attribute that the instrumentation wrote."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "openinference.instrumentation.openai"
    span = scope.spans.add(trace_id=TRACE_ID, span_id=SPAN_ID, end_time_unix_nano=END_NS)
    for key, value in {"openinference.span.kind": "LLM", "llm.token_count.prompt": "many"}.items():
        span.attributes.add(key=key).value.string_value = value
    (found,) = decode(request.SerializeToString(), PROTOBUF, None)
    assert isinstance(found, Rejection)
    assert "llm.token_count.prompt" in found.detail


def test_an_empty_conversation_leaves_the_resource_its_session() -> None:
    """pydantic-ai writes an empty conversation id when a run has none; that names no session."""
    said: dict[str, Scalar] = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": ""}
    for scope in ("pydantic-ai", "mine"):
        span = read(Written(scope, "chat", said), {"aforo.session.id": "s-9"})
        assert span.identity.session_id == "s-9"


def test_a_conversation_may_have_a_number() -> None:
    """Thread ids are numbers in some programs, and still the session."""
    span = made(
        "opentelemetry.instrumentation.langchain", "chat", gen_ai__operation__name="chat",
        traceloop__association__properties__thread_id=42,
    )  # fmt: skip
    assert span.identity.session_id == "42"


@pytest.mark.parametrize(
    ("theirs", "name"),
    [
        ("azure_openai", "azure.ai.openai"),
        ("az.ai.openai", "azure.ai.openai"),
        ("google_genai", "gcp.gemini"),
        ("bedrock_converse", "aws.bedrock"),
        ("mistralai", "mistral_ai"),
        ("OpenAI", "openai"),
        ("langgraph", ""),
        ("autogen", ""),
    ],
)
def test_providers_have_one_name(theirs: str, name: str) -> None:
    """Old and foreign names of a provider become OpenTelemetry's; a framework is none."""
    old = made("mine", "chat", gen_ai__operation__name="chat", gen_ai__system=theirs)
    new = made("crewai", "chat", gen_ai__operation__name="chat", gen_ai__provider__name=theirs)
    assert (old.provider, new.provider) == (name, name)


class TestOpenInference:
    """Kinds that depend on a name, and ids that are in the answer only."""

    def test_a_tool_named_agent_is_a_tool(self) -> None:
        """The instrumentor of LangChain calls every run with "agent" in its name an agent."""
        span = made(
            "openinference.instrumentation.langchain", "ask_agent", openinference__span__kind="AGENT",
            tool__name="ask_agent",
        )  # fmt: skip
        assert (span.role, span.label, span.status) == (Role.TOOL, "ask_agent", "SUCCESS")

    def test_a_chain_is_transparent_until_it_claims_totals(self) -> None:
        """A chain bills nothing; totals on it are a claim."""
        plain = made("openinference.instrumentation.crewai", "kickoff", openinference__span__kind="CHAIN")
        claim = made(
            "mine", "pipeline", openinference__span__kind="CHAIN", llm__token_count__prompt=9,
            llm__token_count__completion=1, llm__token_count__total=10,
        )  # fmt: skip
        total = made("mine", "crew", openinference__span__kind="CHAIN", llm__token_count__total=10)
        assert (plain.role, total.role) == (Role.OTHER, Role.OTHER)
        assert (claim.role, claim.tokens, claim.quality) == (Role.AGENT, Tokens(9, 1), "rolled_up")

    @pytest.mark.parametrize("output", ["__REDACTED__", "", "{", '{"id": "chatcmpl-1' + "x" * 300_000])
    def test_an_answer_that_is_hidden_or_huge_has_no_id(self, output: str) -> None:
        """Without a readable answer the call has no id, and everything else is read."""
        span = made(
            "openinference.instrumentation.openai", "ChatCompletion", openinference__span__kind="LLM",
            output__value=output, llm__token_count__prompt=3, llm__token_count__completion=4,
        )  # fmt: skip
        assert (span.call_id, span.tokens) == ("", Tokens(3, 4))

    def test_the_response_is_not_mistaken_for_a_part_of_it(self) -> None:
        """Parts of a response have ids of their own."""
        answer = {"content": [{"type": "text", "id": "msg_1"}], "response_metadata": {"id": "resp_1"}}
        span = made(
            "mine", "llm", openinference__span__kind="LLM", output__value=json.dumps({"generations": answer})
        )
        assert span.call_id == "resp_1"

    def test_a_tool_message_that_says_error_is_a_failed_tool(self) -> None:
        """LangChain hands a handled error to the model as a message; the span's status is fine."""
        written = WRITERS["openinference langchain"].write(CANON["failed tool"])
        span = read(written._replace(failed=False))
        assert (span.status, span.call_id) == ("ERROR", "call_2")


class TestAg2:
    """Accounting spans beside the calls."""

    @pytest.mark.parametrize(
        ("kind", "role", "quality"),
        [
            ("model_call", Role.OTHER, ""),
            ("compaction", Role.MODEL, "reported"),
            ("aggregation", Role.MODEL, "reported"),
            ("subtask", Role.AGENT, "rolled_up"),
        ],
    )
    def test_only_usage_without_a_call_of_its_own_counts(self, kind: str, role: Role, quality: str) -> None:
        """`model_call` repeats the chat beside it; compaction and aggregation have none; a sub-task claims."""
        span = made(
            "opentelemetry.instrumentation.ag2", f"record_usage {kind}", ag2__span__type="usage",
            ag2__usage__kind=kind, gen_ai__response__model="gpt-4o-mini", gen_ai__provider__name="openai",
            gen_ai__usage__input_tokens=100, gen_ai__usage__output_tokens=20, ag2__usage__total_tokens=120,
        )  # fmt: skip
        assert (span.role, span.quality) == (role, quality)
        assert span.tokens == (None if role == Role.OTHER else Tokens(100, 20))


class TestCrewAI:
    """Spans that look like further calls."""

    @pytest.mark.parametrize(
        "event", ["tool_failure_detected", "mcp_tool_execution_completed", "mcp_tool_execution_failed"]
    )
    def test_a_tool_call_is_told_once(self, event: str) -> None:
        """What a tool usage reports of itself as another `execute_tool` is no second call."""
        span = made(
            "crewai", "tool failure", gen_ai__operation__name="execute_tool", gen_ai__tool__name="convert",
            crewai__event_name=event, failed=True,
        )  # fmt: skip
        assert span.role == Role.OTHER

    def test_a_real_conversation_is_the_session(self) -> None:
        """The crew's span says the conversation only when there is one."""
        span = made(
            "crewai",
            "execute crew",
            gen_ai__operation__name="invoke_workflow",
            gen_ai__conversation__id="c-1",
        )
        assert span.identity.session_id == "c-1"


class TestPydanticAI:
    """Spans that announce or hand over, and the names before operations."""

    @pytest.mark.parametrize(
        "more", [{"logfire__span_type": "pending_span"}, {"pydantic_ai__tool__deferral__name": "approval"}]
    )
    def test_what_was_not_executed_is_no_call(self, more: dict[str, Any]) -> None:
        """A span that announces another, and a tool that somebody else will run, bill nothing."""
        span = made(
            "pydantic-ai", "execute_tool pay", gen_ai__operation__name="execute_tool", gen_ai__tool__name="pay",
            **more,
        )  # fmt: skip
        assert span.role == Role.OTHER

    def test_old_span_names_are_understood(self) -> None:
        """Version 2 of its instrumentation names tools and agents by the span only."""
        tool = made("pydantic-ai", "running tool", gen_ai__tool__name="pay", gen_ai__tool__call__id="call_9")
        agent = made("pydantic-ai", "agent run", agent_name="guide")
        assert (tool.role, tool.label, tool.call_id) == (Role.TOOL, "pay", "call_9")
        assert (agent.role, agent.label) == (Role.AGENT, "guide")


class TestLogfire:
    """A streamed call is told by two spans."""

    def test_the_log_at_the_end_of_a_stream_is_the_call(self) -> None:
        """The span that opened the stream bills nothing; a failed call, which has no log, is one."""
        opened = made(
            "logfire.openai", "Chat Completion", gen_ai__operation__name="chat", logfire__span_type="span",
            gen_ai__request__model="gpt-4o-mini", gen_ai__response__model="gpt-4o-mini",
        )  # fmt: skip
        failed = made(
            "logfire.openai", "Chat Completion", gen_ai__operation__name="chat", logfire__span_type="span",
            gen_ai__request__model="gpt-4o-mini", failed=True,
        )  # fmt: skip
        assert (opened.role, failed.role) == (Role.OTHER, Role.MODEL)

    @pytest.mark.parametrize(
        "raw", ["{", "[]", '{"prompt_tokens_details": 7}', '{"completion_tokens_details": {}}']
    )
    def test_usage_that_cannot_be_read_leaves_the_totals(self, raw: str) -> None:
        """Whatever the provider's JSON is, the totals stand."""
        span = made(
            "logfire.openai", "Chat Completion", gen_ai__operation__name="chat", gen_ai__usage__input_tokens=5,
            gen_ai__usage__output_tokens=6, gen_ai__usage__raw=raw,
        )  # fmt: skip
        assert span.tokens == Tokens(5, 6)


class TestOpenLLMetry:
    """Ids that are in the tool's arguments only."""

    def test_a_tool_message_that_says_error_is_a_failed_tool(self) -> None:
        """LangChain hands a handled error to the model as a message; the span's status is fine."""
        message = {"output": {"lc": 1, "kwargs": {"content": "no", "status": "error"}}, "kwargs": {}}
        written = WRITERS["openllmetry langchain"].write(CANON["tool"])
        said = {**written.attributes, "traceloop.entity.output": json.dumps(message)}
        span = read(written._replace(attributes=said))
        assert (span.status, span.call_id) == ("ERROR", "call_1")


class TestMcp:
    """What is no tool call, and tools that only a name names."""

    @pytest.mark.parametrize("scope", ["mcp-python-sdk", "fastmcp", "mine"])
    @pytest.mark.parametrize(
        "method",
        ["tools/list", "initialize", "ping", "server/discover", "notifications/progress", "prompts/get"],
    )
    def test_only_tool_calls_bill(self, scope: str, method: str) -> None:
        """Lists, handshakes, pings and notifications bill nothing."""
        assert made(scope, f"MCP send {method}", mcp__method__name=method).role == Role.OTHER

    @pytest.mark.parametrize("scope", ["mcp-python-sdk", "fastmcp", "mine"])
    @pytest.mark.parametrize(
        ("name", "label"),
        [("MCP send tools/call add", "add"), ("tools/call add", "add"), ("tools/call", ""), ("add", "add")],
    )
    def test_the_tool_may_be_in_the_name_only(self, scope: str, name: str, label: str) -> None:
        """Client and server spans of one call end with the same label, so that they collapse."""
        assert made(scope, name, mcp__method__name="tools/call").label == label


def test_lists_among_the_attributes_do_no_harm() -> None:
    """Attributes with lists are passed over in both encodings."""
    written = WRITERS["otel"].write(CHAT)
    more = written._replace(attributes={**written.attributes, "gen_ai.response.finish_reasons": ["stop"]})
    assert read(more) == read_json(more) == read(written)
