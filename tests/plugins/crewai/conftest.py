"""A spool of its own for every test, and a CrewAI that keeps to itself. Skipped where CrewAI is not installed."""

import atexit
import gc
import os
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import aforo_sdk
import pytest

from tests.fake_openai import FakeOpenAI, fake_openai
from tests.plugins.spool import ReadSpans, read

collect_ignore_glob = [] if find_spec("crewai") else ["*"]

UNREACHABLE = "http://127.0.0.1:9"
DATA = tempfile.TemporaryDirectory(prefix="crewai-", ignore_cleanup_errors=True)
atexit.register(DATA.cleanup)
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_TESTING": "true",
    "OPENAI_API_KEY": "none",
    "XDG_DATA_HOME": DATA.name,  # where CrewAI keeps its databases, or those of other releases would meet there
}
os.environ.update(QUIET)  # read when CrewAI is imported
if not collect_ignore_glob:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing CrewAI warns of what it and its dependencies do
        import crewai  # noqa: F401

OWN_WARNINGS = (
    r"ignore:(\w+ is )?deprecated:DeprecationWarning",  # CrewAI uses what it deprecates
    "ignore:unclosed:ResourceWarning",  # and never closes its asynchronous client
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let CrewAI's own warnings pass in the tests of this folder; all others stay errors."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            for own in OWN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(own))


@pytest.fixture(autouse=True, scope="session")
def leftovers() -> Iterator[None]:
    """Collect the clients that CrewAI leaves open here, where nobody minds."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let CrewAI keep its files in a folder that goes away."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path / "crewai"))


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[ReadSpans]:
    """Start the SDK with an empty spool and a collector that is down; return what reads the spool back."""
    import aforo_crewai
    from aforo_crewai.scopes import SCOPES

    SCOPES.clear()
    aforo_sdk.init(endpoint=UNREACHABLE, spool_dir=str(tmp_path / "spool"), customer_id="acme")
    yield lambda: read(tmp_path / "spool")
    left = len(SCOPES)
    aforo_crewai.uninstrument()
    assert left == 0, "a scope was left open"


@pytest.fixture
def metered(spans: ReadSpans) -> ReadSpans:
    """Meter the process; return what reads the spool back."""
    import aforo_crewai

    aforo_crewai.instrument()
    return spans


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A server that answers whatever it is asked with text and the usage 100/20."""
    with fake_openai() as started:
        yield started
