"""Each distribution is a wheel that installs alone, with plain pip, into an empty environment."""

import os
import shutil
import subprocess
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tidy.distributions import distributions, pins, workspace
from tests.tidy.sources import ROOT

DISTRIBUTIONS = {each.name: each for each in distributions()}
VERSION = workspace()["project"]["version"]


@dataclass(frozen=True, slots=True)
class Installed:
    """One distribution in an environment of its own; `folder` is that of the environment."""

    name: str
    folder: Path

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, away from the repository, and return what it printed."""
        path = [str(self.folder / ("Scripts" if os.name == "nt" else "bin") / command), *arguments]
        return subprocess.run(path, cwd=self.folder, check=False, capture_output=True, text=True)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of every distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "uv is needed to build the wheels"
    for distribution in DISTRIBUTIONS.values():
        run([uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(distribution.folder)])
    return folder


@pytest.fixture(scope="session", params=sorted(DISTRIBUTIONS))
def installed(
    request: pytest.FixtureRequest, wheels: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """A distribution, installed alone by pip at the pinned versions; only its siblings come from `wheels`."""
    folder = tmp_path_factory.mktemp(request.param)
    constraints = folder / "constraints.txt"
    pinned = pins(DISTRIBUTIONS[request.param].environment)
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()))
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    environment = Installed(request.param, folder)
    options = ["--quiet", "--disable-pip-version-check", "--find-links", str(wheels), "-c", str(constraints)]
    done = environment.run("python", "-m", "pip", "install", *options, f"{request.param}=={VERSION}")
    assert done.returncode == 0, done.stdout + done.stderr
    return environment


def run(command: list[str]) -> None:
    """Run a command in the repository; its output is the message when it fails."""
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_a_wheel_carries_the_package_and_its_papers(wheels, name):
    """A wheel holds its import package with py.typed, the licence and the README, and nothing else."""
    package = DISTRIBUTIONS[name].package
    papers = f"{package}-{VERSION}.dist-info"

    with zipfile.ZipFile(wheels / f"{package}-{VERSION}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
        metadata = wheel.read(f"{papers}/METADATA").decode("utf-8")

    assert f"{package}/py.typed" in names
    assert f"{papers}/licenses/LICENSE" in names
    assert {each.partition("/")[0] for each in names} == {package, papers}
    assert "License-Expression: Apache-2.0" in metadata
    assert DISTRIBUTIONS[name].folder.joinpath("README.md").read_text("utf-8").strip() in metadata


def test_a_distribution_installs_alone(installed):
    """Installed alone, a distribution has all it requires, and of its siblings only those that it names."""
    listed = installed.run("python", "-m", "pip", "list", "--format=freeze").stdout.splitlines()
    siblings = {line.partition("==")[0] for line in listed} & set(DISTRIBUTIONS)

    assert installed.run("python", "-m", "pip", "check").returncode == 0
    assert siblings == {installed.name, "aforo-sdk"}


def test_a_distribution_imports_alone(installed):
    """Every module but the demo's, and those named like an extra, imports with what the distribution brings."""
    package = DISTRIBUTIONS[installed.name].package
    extras = sorted(DISTRIBUTIONS[installed.name].project.get("optional-dependencies", {}))
    program = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module({package!r})\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    last = module.name.rpartition('.')[2]\n"
        f"    if last != '__main__' and '.cli.demo' not in module.name and last not in {extras}:\n"
        "        importlib.import_module(module.name)\n"
    )
    done = installed.run("python", "-I", "-W", "error", "-c", program)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_lists_what_is_installed(installed):
    """`aforo --help` works beside every distribution and lists the commands of those that are installed."""
    done = installed.run("aforo", "--help")

    assert done.returncode == 0, done.stderr
    for name in {installed.name, "aforo-sdk"}:
        for command in DISTRIBUTIONS[name].commands:
            assert command in done.stdout + done.stderr
