"""One call of a tool is one span, under every server, decorated, behind the middleware, or both."""

import asyncio
from typing import Any

import pytest

from tests.plugins.mcp.clients import connect, failed
from tests.plugins.mcp.servers import KINDS, MODERN, MODES, build
from tests.plugins.spool import ReadSpans, Seen


def calls(kind: str, *wanted: tuple[str, dict[str, Any]], mode: str = "auto", **terms: Any) -> list[Any]:
    """Make calls one after the other; return their results."""

    async def main() -> list[Any]:
        async with connect(build(kind, **terms), mode) as call:
            return [await call(tool, arguments) for tool, arguments in wanted]

    return asyncio.run(main())


def status(span: Seen) -> str:
    """Return the status as the collector reads it from a span."""
    kind = (span["error.type"] or "").rpartition(".")[2]
    if not kind:
        return "SUCCESS"
    return {"CancelledError": "CANCELLED", "TimeoutError": "TIMEOUT", "-32001": "TIMEOUT"}.get(kind, "ERROR")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_one_span(spans: ReadSpans, kind: str, mode: str) -> None:
    """A call of a tool gives its result and exactly one span with name, kind, method, tool and request."""
    (result,) = calls(kind, ("add", {"a": 2}), mode=mode)
    assert (failed(result), result.content[0].text) == (False, "3")
    (span,) = spans()
    assert (span.name, span.kind, span.failed) == ("tools/call add", 2, False)
    assert {key: span[key] for key in ("mcp.method.name", "gen_ai.operation.name", "gen_ai.tool.name")} == {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
    }
    assert (span["aforo.customer.id"], span["aforo.product.type"]) == ("acme", "MCP_SERVER")
    assert span["jsonrpc.request.id"]
    assert span["aforo.session.id"] is span["mcp.session.id"] is None
    assert 0 < span.start_ns <= span.end_ns


@pytest.mark.parametrize("kind", KINDS)
def test_outcomes(spans: ReadSpans, kind: str) -> None:
    """What a tool raises or answers reaches the client as ever, and the span says what came of the call."""
    wanted = ["fail", "fail_late", "time_out", "missing"]
    if MODERN or kind.startswith("sdk"):  # FastMCP 3 takes an error of the SDK for content
        wanted.append("refuse")
    results = calls(kind, *[(tool, {}) for tool in wanted])
    assert all(failed(result) for result in results)
    seen = {span["gen_ai.tool.name"]: span for span in spans()}
    # Only a middleware sees calls of tools that do not exist.
    assert set(seen) == set(wanted) - ({"missing"} if kind.endswith("decorated") else set())
    assert {tool: status(span) for tool, span in seen.items() if tool != "time_out"} == dict.fromkeys(
        set(seen) - {"time_out"}, "ERROR"
    )
    if "refuse" in seen:
        assert seen["refuse"]["error.type"] == "tool_error"
    if kind != "sdk-middleware":  # there the SDK has made a text of what the tool raised
        assert status(seen["time_out"]) == "TIMEOUT"
    assert not any("secret" in span.message for span in seen.values())


@pytest.mark.parametrize("kind", KINDS)
def test_cancelled(spans: ReadSpans, kind: str) -> None:
    """A call whose client goes away ends as cancelled."""

    async def main() -> None:
        async with connect(build(kind)) as call:
            task = asyncio.create_task(call("wait", {"delay_s": 60}))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert [status(span) for span in spans()] == ["CANCELLED"]


@pytest.mark.parametrize("kind", KINDS)
def test_contexts_are_injected(spans: ReadSpans, kind: str) -> None:
    """A tool that asks for the framework's context gets it, with the request that the span names."""
    (result,) = calls(kind, ("greet", {"name": "ann"}))
    (span,) = spans()
    assert result.content[0].text == f"ann {span['jsonrpc.request.id']}"


@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once(spans: ReadSpans, kind: str) -> None:
    """A hundred parallel calls for ten customers and their sessions are billed each to its own."""

    async def main() -> None:
        async with connect(build(kind)) as call:
            work = []
            for number in range(100):
                meta = {"customerId": f"c-{number % 10}", "sessionId": f"s-{number}"}
                work.append(call(*(("wait", {"delay_s": 0.01}) if number % 2 else ("add", {"a": 1})), meta))
            await asyncio.gather(*work)

    asyncio.run(main())
    seen = spans()
    pairs = {(span["aforo.session.id"], span["aforo.customer.id"], span["gen_ai.tool.name"]) for span in seen}
    tools = ["add", "wait"]
    assert pairs == {(f"s-{number}", f"c-{number % 10}", tools[number % 2]) for number in range(100)}
    assert len({span["jsonrpc.request.id"] for span in seen}) == len(seen) == 100


@pytest.mark.parametrize("kind", KINDS)
def test_costs_and_tokens(spans: ReadSpans, kind: str) -> None:
    """What a tool reports while it runs is summed, what its result reports is taken, once each."""
    calls(kind, ("pay", {}), ("price", {}))
    paid, priced = spans()
    used = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.reasoning.output_tokens"
    assert paid["aforo.provider_cost"] == "0.03"
    assert [paid[key] for key in used] == [40, 6, 2]
    assert paid["gen_ai.response.model"] == "stub-1"
    assert priced["aforo.provider_cost"] == "0.0042"
    assert [priced[key] for key in used] == [320, 84, None]
