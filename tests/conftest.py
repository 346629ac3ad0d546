"""What holds for every test: a clean environment, reproducible properties, and no network but loopback."""

import ipaddress
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

FOREIGN_PREFIXES = ("AFORO_", "OTEL_", "LANGCHAIN_", "LANGSMITH_", "LANGGRAPH_")

# No deadlines: the machine is shared, and time is asserted only where a bound is promised.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def refuse_foreign_address(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: a connection of the test process may reach this machine only.

    Raises:
        RuntimeError: for an address outside the loopback range.
    """
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and not is_loopback(address[0]):
        raise RuntimeError(f"a test tried to reach {address[0]}; tests reach loopback addresses only")


def is_loopback(host: str) -> bool:
    """Whether `host` is a name or an address of this machine's loopback interface."""
    try:
        return host in {"localhost", ""} or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


sys.addaudithook(refuse_foreign_address)
# A shell starts what it runs in the background with Ctrl-C ignored, and so would be every process of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Take the developer's own settings away and give every test its own state folder, which it returns."""
    for name in [name for name in os.environ if name.startswith(FOREIGN_PREFIXES)]:
        monkeypatch.delenv(name)
    state = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    return state
