"""Runs the cells of the matrix: one process each, a server that counts, a sink that keeps what was exported."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fake_openai import Served, fake_openai
from tests.matrix import story
from tests.matrix.sink import BodySink

CUSTOMER = "acme"
PROCESSES_AT_ONCE = 2
TIMEOUT_S = 120
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Cell:
    """A framework under a combination of instrumentations, in one setting (`bare` or `ambient`)."""

    framework: str
    combination: str
    setting: str

    def __str__(self) -> str:
        return f"{self.framework}-{self.combination}-{self.setting}"


@dataclass(frozen=True, slots=True)
class Run:
    """What happened in a cell: what the server served, and what was exported, in the order of arrival."""

    served: list[Served]
    bodies: list[bytes]


def run(framework: str, combination: str, folder: Path) -> dict[str, Run]:
    """Play the scenario under a combination (`ours+openinference`); by setting.

    Raises:
        RuntimeError: when the program failed; with all that it said.
    """
    taken: dict[str, list[Served]] = {}
    with fake_openai(story.answer) as server:

        def on_setting(setting: str) -> None:
            before = sum(map(len, taken.values()))
            taken[setting] = server.served[before:]

        sink = BodySink(on_setting)
        try:
            done = subprocess.run(
                [
                    sys.executable, "-m", f"tests.matrix.scenarios.{framework}_scenario", "--server", server.url,
                    "--sink", sink.url, "--instrument", combination.replace("+", ","),
                ],
                cwd=ROOT, env=_environment(folder, sink.url), capture_output=True, text=True, timeout=TIMEOUT_S,
                check=False,
            )  # fmt: skip
        finally:
            sink.close()
    if done.returncode != 0:
        raise RuntimeError(f"{framework} under {combination} failed:\n{done.stdout}\n{done.stderr}")
    return {setting: Run(taken[setting], bodies) for setting, bodies in sink.bodies.items()}


def _environment(folder: Path, sink_url: str) -> dict[str, str]:
    """The environment of a cell's process: who pays, no telemetry of the frameworks' makers, a home of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return kept | {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
        "AFORO_ENDPOINT": sink_url,
        "AFORO_SPOOL_DIR": str(folder / "spool"),
        "OTEL_RESOURCE_ATTRIBUTES": f"aforo.customer.id={CUSTOMER}",
        "OTEL_SERVICE_NAME": "travel-desk",
        "LANGSMITH_TRACING": "false",
        "CREWAI_DISABLE_TELEMETRY": "true",
        "CREWAI_DISABLE_TRACKING": "true",
        "CREWAI_TRACING_ENABLED": "false",
        "CREWAI_TESTING": "true",
        "CREWAI_STORAGE_DIR": str(folder / "crewai"),
        "NO_PROXY": "*",
    }
