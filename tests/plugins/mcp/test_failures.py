"""Whatever goes wrong in metering, or has changed in a framework, the tool runs and its caller sees nothing."""

import asyncio
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import fastmcp.server.dependencies
import mcp.server.lowlevel.server
import pytest
from aforo_mcp import AforoMiddleware, metered_tool, report_cost, report_usage
from aforo_mcp import spans as writing
from aforo_sdk import notices

from tests.plugins.mcp.clients import connect, failed
from tests.plugins.mcp.servers import KINDS, MODERN, build
from tests.plugins.spool import ReadSpans


class Context:
    """A context of some framework, with the given attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__ = fields


class Hostile:
    """A result that cannot be looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", ["open_call", "close_call"])
def test_errors_of_metering(
    spans: ReadSpans,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    moment: str,
) -> None:
    """An error of ours costs the call its span, is counted each time and logged once; results stay the same."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(writing, moment, broken)

    async def main() -> list[Any]:
        async with connect(build(kind)) as call:
            return [await call("add", {"a": 1}), await call("fail")]

    added, refused = asyncio.run(main())
    assert (added.content[0].text, failed(refused)) == ("2", True)
    layers = 2 if kind.endswith("both") and moment == "open_call" else 1
    assert notices.counters()["mcp_metering_errors"] == 2 * layers
    (line,) = [record.message for record in caplog.records if "was not metered" in record.message]
    assert f"mcp {version('mcp')}, fastmcp {version('fastmcp')}" in line
    assert not spans()
    notices.forget()


def test_hostile_results(spans: ReadSpans) -> None:
    """A result that raises when it is looked at is passed on as it is, and the call is counted."""
    hostile = Hostile()

    @metered_tool
    def tool() -> Hostile:
        return hostile

    assert tool() is hostile
    assert notices.counters()["mcp_metering_errors"] == 1
    notices.forget()


def test_fastmcp_without_get_context(
    spans: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where FastMCP has no `get_context` any more, calls are metered and one warning names its version."""
    monkeypatch.delattr(fastmcp.server.dependencies, "get_context")
    metered_tool(len)("abc")
    metered_tool(len)("abc")
    assert len(spans()) == 2
    (warning,) = [record.message for record in caplog.records]
    assert f"fastmcp {fastmcp.__version__} has no fastmcp.server.dependencies.get_context" in warning


@pytest.mark.skipif(MODERN, reason="the SDK 2.x keeps its request in no context variable")
def test_sdk_without_its_variable(
    spans: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the SDK 1.x has no `request_ctx` any more, calls are metered and one warning names its version."""
    monkeypatch.delattr(mcp.server.lowlevel.server, "request_ctx")
    metered_tool(len)("abc")
    assert len(spans()) == 1
    assert "has no mcp.server.lowlevel.server.request_ctx" in caplog.text


def test_unknown_contexts(spans: ReadSpans, caplog: pytest.LogCaptureFixture) -> None:
    """A middleware context that lacks what is read from it is metered as far as it goes, with a warning."""

    async def answer(context: Any) -> str:
        return "ok"

    middleware = AforoMiddleware()
    bare = Context(method="tools/call", request_id=1)
    named = Context(method="tools/call", type="request", message=Context(name="add"))
    assert asyncio.run(middleware(bare, answer)) == asyncio.run(middleware(named, answer)) == "ok"
    assert [span.name for span in spans()] == ["tools/call", "tools/call add"]
    assert "has no `params`" in caplog.text
    assert "has no `fastmcp_context`" in caplog.text


def test_notifications_pass(spans: ReadSpans) -> None:
    """A notification that looks like a call is none: nobody waits for its result."""

    async def nothing(context: Any) -> None:
        return None

    for context in (
        Context(method="tools/call", request_id=None, params={"name": "add"}),
        Context(method="tools/call", type="notification", message=Context(name="add")),
        Context(),
    ):
        asyncio.run(AforoMiddleware()(context, nothing))
    assert not spans()


def test_reports_outside_of_calls(spans: ReadSpans, caplog: pytest.LogCaptureFixture) -> None:
    """A report outside of a call, after it, or without a number in it is not recorded and says so once."""
    late: list[Any] = []

    @metered_tool
    async def tool() -> None:
        report_cost("much")
        report_cost(10**5_000)
        report_usage({"words": 3})
        late.append(asyncio.create_task(asyncio.sleep(0.01)))
        late[0].add_done_callback(lambda _: report_cost("1"))

    async def main() -> None:
        await tool()
        await asyncio.gather(*late)
        await asyncio.sleep(0)

    asyncio.run(main())
    report_cost("1")
    report_usage({"input_tokens": 3})
    (span,) = spans()
    assert span["aforo.provider_cost"] is None
    assert notices.counters()["mcp_reports_outside_calls"] == 3
    assert [record.message.partition(":")[0] for record in caplog.records] == ["aforo"] * 4


def test_no_framework_is_imported() -> None:
    """Importing the package imports neither an MCP SDK nor FastMCP nor an HTTP library."""
    code = "import sys, aforo_mcp; print(*({'mcp', 'fastmcp', 'aiohttp', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
