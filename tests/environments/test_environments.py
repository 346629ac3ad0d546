"""The versions that this environment cannot hold are tested in environments of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PINS = "tests/tidy/test_distributions.py::test_the_environment_is_what_the_pins_name"
OLD = ["-W", "default"]  # releases of long ago are not free of what warns today
SUITES = {
    "crewai": [
        "tests/plugins/crewai",
        "tests/plugins/autogen",
        "tests/plugins/ag2",
        "tests/plugins/mcp",
        "tests/matrix",
        PINS,
    ],
    "oldest": [
        *OLD,
        "tests/plugins/langchain",
        "tests/plugins/mcp",
        "--ignore=tests/plugins/mcp/proxy/test_stdio.py",
        "--ignore=tests/plugins/mcp/proxy/test_jsonrpc.py",
        PINS,
    ],
    "oldest-crewai": [*OLD, "tests/plugins/crewai", "tests/plugins/autogen", "tests/plugins/ag2", PINS],
}
"""What is tested in which environment: with CrewAI, and with the oldest versions that the plugins claim."""


@pytest.mark.skipif(Path(sys.prefix).parent != ROOT, reason="an environment does not start the others")
@pytest.mark.parametrize("name", SUITES)
def test_what_is_tested_there_passes_there(name: str) -> None:
    """The tests of an environment pass with the versions that it pins."""
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "uv is needed to build the environment"
    ours = ("PYTEST", "UV_PROJECT", "VIRTUAL_ENV")
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    done = subprocess.run(
        [uv, "run", "--project", str(HERE / name), "pytest", "-q", *SUITES[name]],
        cwd=ROOT, env=surroundings, check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-60:]) + done.stderr[-4_000:]
