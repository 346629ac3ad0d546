"""The main program of a scenario: a process of its own, because instrumentations patch the whole of it.

    python -m tests.matrix.scenarios.langchain_scenario --server URL --sink URL --instrument ours,openinference

It plays the scenario once as it is (setting `bare`) and once more below a span of the application's own
tracing (setting `ambient`), if there is any, and says when each has been delivered.
"""

import argparse
import sys
from collections.abc import Callable
from urllib.request import Request, urlopen

import aforo_sdk
from opentelemetry.sdk.trace import TracerProvider

from tests.matrix.instrumentations import OURS, provide_traces, switch_on

Play = Callable[[str, TracerProvider | None], str]
"""A scenario: the server's URL, and the provider for the framework's own tracing if that is wanted; the answer."""


def main(framework: str, play: Play) -> None:
    """Run the scenario under the instrumentations named on the command line."""
    given = options()
    provider = start(framework, given)
    native = provider if "native" in given.instrument else None
    _say(play(given.server, native))
    deliver(provider)
    _close(given.sink, "bare")
    if provider is not None:
        with provider.get_tracer("travel-desk").start_as_current_span("POST /questions"):
            _say(play(given.server, native))
        deliver(provider)
        _close(given.sink, "ambient")


def options() -> argparse.Namespace:
    """The command line: `server` and `sink` (URLs) and `instrument`, a list of names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--sink", required=True)
    parser.add_argument("--instrument", default="", type=lambda names: names.split(","))
    return parser.parse_args()


def start(framework: str, given: argparse.Namespace) -> TracerProvider | None:
    """Instrument this process; the application's provider, None where only we are asked for."""
    provider = provide_traces(given.sink) if set(given.instrument) - OURS else None
    switch_on(framework, given.instrument, provider)
    return provider


def deliver(provider: TracerProvider | None) -> None:
    """Wait until the sink has everything that this process has made so far."""
    if not aforo_sdk.flush(20):
        raise SystemExit("the sink did not take all of our spans")
    if provider is not None:
        provider.force_flush()


def _say(answer: str) -> None:
    if "1308" not in answer:
        raise SystemExit(f"the scenario went another way; its answer was {answer!r}")
    sys.stdout.write(answer + "\n")


def _close(sink: str, setting: str) -> None:
    with urlopen(Request(f"{sink}/settings/{setting}", data=b"")) as response:
        response.read()
