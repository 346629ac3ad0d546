"""CPU that metering adds to a LangChain run, in microseconds per callback pair.

The canonical run is a chain that calls a chat model three times and a tool twice: six callback pairs, with
models and tools that answer at once, so what is left is LangChain and the handler. Short blocks with and
without the handler alternate in one process; `median` is the median difference of neighbours in process CPU
(all threads, delivery included), `minimum` the difference of the two cheapest blocks. Each subject runs in a
process of its own. On a busy machine compare ratios, never figures of different runs.

    python tests/bench/bench_handler.py [--runs 25] [--blocks 40] [--peer-venv DIR]... [subject ...]

Peers are measured where they can be imported; `--peer-venv DIR` adds those of another environment.
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

PAIRS_PER_RUN = 6
QUESTION = "What did customer 42 use in September, and what does it cost? " * 3
ANSWER = "Customer 42 used 1,204 API calls and 88 thousand tokens; the total is 17.42 USD. " * 3
RULES = "You are a careful billing assistant. " * 11


class Subject(NamedTuple):
    """What is measured: `modules` must be importable; `start` switches it on and returns (config, flush)."""

    modules: tuple[str, ...]
    start: Callable[[str], tuple[dict[str, Any], Callable[[], object]]]
    is_async: bool = False
    needs_sink: bool = False


def instant_model() -> Any:
    """Return a chat model that answers at once: twice with a tool call, then with words."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class InstantChat(BaseChatModel):
        model_name: str = "gpt-4o-mini"

        @property
        def _llm_type(self) -> str:
            return "openai-chat"

        def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
            return {"ls_provider": "openai", "ls_model_name": self.model_name, "ls_model_type": "chat"}

        def _generate(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> ChatResult:
            turn = sum(1 for message in messages if message.type == "tool")
            arguments = {"customer": "42", "month": "2026-09"}
            call = {"name": "lookup_usage", "args": arguments, "id": f"call_{turn}", "type": "tool_call"}
            message = AIMessage(
                content=ANSWER if turn == 2 else "",
                tool_calls=[] if turn == 2 else [call],
                usage_metadata={
                    "input_tokens": 812,
                    "output_tokens": 96,
                    "total_tokens": 908,
                    "input_token_details": {"cache_read": 512},
                    "output_token_details": {"reasoning": 32},
                },
                response_metadata={
                    "model_name": "gpt-4o-mini-2024-07-18",
                    "finish_reason": "stop",
                    "id": "chatcmpl-x",
                },
            )
            token_usage = {"prompt_tokens": 812, "completion_tokens": 96, "total_tokens": 908}
            return ChatResult(
                generations=[ChatGeneration(message=message)],
                llm_output={"token_usage": token_usage, "model_name": "gpt-4o-mini-2024-07-18"},
            )

        async def _agenerate(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> ChatResult:
            return self._generate(messages)

    return InstantChat()


def canonical_chain() -> Any:
    """Return the chain of the canonical run."""
    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tools import StructuredTool

    def answer(customer: str, month: str) -> str:
        return '{"api_calls": 1204, "tokens": 88000}'

    async def answer_async(customer: str, month: str) -> str:
        return answer(customer, month)

    tool = StructuredTool.from_function(
        answer, answer_async, name="lookup_usage", description="Look usage up."
    )
    model = instant_model()

    def agent(question: str, config: Any) -> Any:
        messages: list[Any] = [SystemMessage(RULES), HumanMessage(question)]
        while True:
            messages.append(model.invoke(messages, config))
            if not messages[-1].tool_calls:
                return messages[-1].content
            messages += [tool.invoke(call, config) for call in messages[-1].tool_calls]

    async def agent_async(question: str, config: Any) -> Any:
        messages: list[Any] = [SystemMessage(RULES), HumanMessage(question)]
        while True:
            messages.append(await model.ainvoke(messages, config))
            if not messages[-1].tool_calls:
                return messages[-1].content
            messages += [await tool.ainvoke(call, config) for call in messages[-1].tool_calls]

    return RunnableLambda(agent, afunc=agent_async, name="billing_agent")


def noop(endpoint: str) -> tuple[dict[str, Any], Callable[[], object]]:
    """A handler that does nothing: what LangChain itself charges for having one."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Noop(BaseCallbackHandler):
        run_inline = True

        def on_chat_model_start(self, serialized: Any, messages: Any, **told: Any) -> None: ...

    return {"callbacks": [Noop()]}, lambda: None


def ours(endpoint: str) -> tuple[dict[str, Any], Callable[[], object]]:
    """Our handler with the durable spool on; delivers to `endpoint`, and keeps what it cannot deliver."""
    import aforo_sdk
    from aforo_langchain import AforoCallbackHandler

    spool = tempfile.mkdtemp(prefix="aforo-bench-")
    aforo_sdk.init(
        endpoint=endpoint or "http://127.0.0.1:9", spool_dir=spool, customer_id="c42", agent_id="a7"
    )
    flush = (lambda: aforo_sdk.flush(10.0)) if endpoint else (lambda: None)
    return {"callbacks": [AforoCallbackHandler(session_id="s-1")]}, flush


def _sdk_provider() -> Any:
    """Return an OpenTelemetry provider whose exporter throws every span away."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=200_000))
    return provider


def agentops(endpoint: str) -> tuple[dict[str, Any], Callable[[], object]]:
    """The handler of AgentOps, its core given a provider in place of its cloud."""
    from agentops.integration.callbacks.langchain import LangchainCallbackHandler
    from agentops.sdk.core import tracer
    from opentelemetry import trace

    provider = _sdk_provider()
    trace.set_tracer_provider(provider)
    tracer.provider, tracer._initialized = provider, True
    return {"callbacks": [LangchainCallbackHandler(auto_session=False)]}, provider.force_flush


def openllmetry(endpoint: str) -> tuple[dict[str, Any], Callable[[], object]]:
    """OpenLLMetry's instrumentation with its defaults."""
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    provider = _sdk_provider()
    LangchainInstrumentor().instrument(tracer_provider=provider)
    return {}, provider.force_flush


def openinference(endpoint: str) -> tuple[dict[str, Any], Callable[[], object]]:
    """OpenInference's instrumentation with its defaults."""
    from openinference.instrumentation.langchain import LangChainInstrumentor

    provider = _sdk_provider()
    LangChainInstrumentor().instrument(tracer_provider=provider)
    return {}, provider.force_flush


SUBJECTS = {
    "noop": Subject((), noop),
    "aforo": Subject(("aforo_langchain",), ours),
    "aforo delivered": Subject(("aforo_langchain",), ours, needs_sink=True),
    "noop ainvoke": Subject((), noop, is_async=True),
    "aforo ainvoke": Subject(("aforo_langchain",), ours, is_async=True),
    "agentops": Subject(("agentops",), agentops),
    "agentops ainvoke": Subject(("agentops",), agentops, is_async=True),
    "openllmetry": Subject(("opentelemetry.instrumentation.langchain",), openllmetry),
    "openllmetry ainvoke": Subject(("opentelemetry.instrumentation.langchain",), openllmetry, is_async=True),
    "openinference": Subject(("openinference.instrumentation.langchain",), openinference),
    "openinference ainvoke": Subject(
        ("openinference.instrumentation.langchain",), openinference, is_async=True
    ),
}


def measure(subject: Subject, runs: int, blocks: int, endpoint: str) -> dict[str, float]:
    """Return the CPU added per callback pair: `median_us` and `minimum_us`, and the plain run's `base_us`."""
    logging.disable(logging.WARNING)
    if subject.needs_sink:  # a flush per block: fewer and longer ones, or it is the flush that is measured
        runs, blocks = runs * 8, max(blocks // 8, 3)
    chain = canonical_chain()
    loop = asyncio.new_event_loop()

    async def run_async(config: dict[str, Any]) -> None:
        for _ in range(runs):
            await chain.ainvoke(QUESTION, config)

    def block(config: dict[str, Any], flush: Callable[[], object]) -> float:
        start_s = time.process_time()
        if subject.is_async:
            loop.run_until_complete(run_async(config))
        else:
            for _ in range(runs):
                chain.invoke(QUESTION, config)
        flush()
        return (time.process_time() - start_s) / runs / PAIRS_PER_RUN * 1e6

    def nothing() -> None:
        return None

    block({}, nothing)
    plain = [block({}, nothing) for _ in range(blocks)]
    config, flush = subject.start(endpoint)
    block(config, flush)
    if config:  # a handler that is passed in can be left out again, so the blocks alternate
        plain, metered = [], []
        for _ in range(blocks):
            plain.append(block({}, nothing))
            metered.append(block(config, flush))
    else:
        metered = [block({}, flush) for _ in range(blocks)]
    return {
        "median_us": statistics.median(after - before for before, after in zip(plain, metered, strict=True)),
        "minimum_us": min(metered) - min(plain),
        "base_us": statistics.median(plain),
    }


class Sink(BaseHTTPRequestHandler):
    """A collector that accepts everything and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the body and answer 200."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def serve_sink() -> None:
    """Run the sink on a free loopback port, printed first, until the process is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def in_process_of_its_own(python: str, name: str, runs: int, blocks: int) -> dict[str, float] | None:
    """Measure one subject with another interpreter; None if it is not installed there."""
    environment = os.environ | {"LANGSMITH_TRACING": "false", "TRACELOOP_TELEMETRY": "false"}
    sink = endpoint = None
    if SUBJECTS[name].needs_sink:
        sink = subprocess.Popen([sys.executable, __file__, "--sink"], stdout=subprocess.PIPE, text=True)
        assert sink.stdout is not None
        endpoint = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
    try:
        command = [python, __file__, "--measure", name, "--runs", str(runs), "--blocks", str(blocks)]
        command += ["--endpoint", endpoint] if endpoint else []
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    finally:
        if sink is not None:
            sink.terminate()
            sink.wait()
    if done.returncode:
        sys.stderr.write(f"{name}: {done.stderr[-2000:]}\n")
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if not done.returncode and lines else None


def importable(module: str) -> bool:
    """Tell whether a module could be imported here."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def main() -> None:
    """Measure, and print one line per subject."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subjects", nargs="*", metavar="subject", help=", ".join(SUBJECTS))
    parser.add_argument("--runs", type=int, default=25, help="canonical runs in a block")
    parser.add_argument("--blocks", type=int, default=40, help="blocks of each kind")
    parser.add_argument("--peer-venv", type=Path, action="append", default=[], help="environment of a peer")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", default="", help=argparse.SUPPRESS)
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        serve_sink()
    if options.measure:
        subject = SUBJECTS[options.measure]
        if all(importable(module) for module in subject.modules):
            print(json.dumps(measure(subject, options.runs, options.blocks, options.endpoint)), flush=True)
        os._exit(0)  # peers' exporters would hold the exit up
    pythons = [sys.executable, *(str(venv / "bin" / "python") for venv in options.peer_venv)]
    print(f"{'CPU added, µs per callback pair':32}{'median':>9}{'minimum':>9}{'of ours':>9}")
    reference = {False: 0.0, True: 0.0}
    for name in options.subjects or SUBJECTS:
        for python in pythons:
            found = in_process_of_its_own(python, name, options.runs, options.blocks)
            if found:
                is_async = SUBJECTS[name].is_async
                if name in {"aforo", "aforo ainvoke"}:
                    reference[is_async] = found["median_us"]
                ratio = f"{found['median_us'] / reference[is_async]:8.1f}x" if reference[is_async] else ""
                print(f"{name:32}{found['median_us']:9.1f}{found['minimum_us']:9.1f}{ratio}", flush=True)
                break


if __name__ == "__main__":
    main()
