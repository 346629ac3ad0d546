"""Arguments win over AFORO_*, these over OTEL_*, these over defaults; and `init` is optional and
repeatable.
"""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import aforo_sdk
import pytest
from aforo_sdk import plugin, runtime
from aforo_sdk.settings import SDK_VERSION, resolve

from tests.sdk.sink import Sink, attributes_of

OTEL = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:1",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x,a=b",
    "OTEL_RESOURCE_ATTRIBUTES": "aforo.customer.id=from-otel,aforo.product.type=AI_AGENT,service.name=shop",
}
AFORO = {
    "AFORO_ENDPOINT": "http://aforo:2/",
    "AFORO_CUSTOMER_ID": "from-aforo",
    "AFORO_API_KEY": "key-aforo",
    "AFORO_PRODUCT_TYPE": "API",
}


def test_defaults() -> None:
    """With nothing set: a collector on this machine, no key, nobody to pay, Agentic API, nothing captured."""
    found = resolve({}, {})
    assert found.destination.traces_url == "http://localhost:4318/v1/traces"
    assert found.destination.headers == {}
    assert dict(found.identity.items()) == {"aforo.product.type": "AGENTIC_API"}
    assert (found.spool_bytes_max, found.tee, found.capture_content) == (1 << 30, False, False)
    assert set(found.origins.values()) == {"default"}


def test_otel_variables_count_when_nothing_better_is_there() -> None:
    """Endpoint, headers and identity come from OTEL_* when neither arguments nor AFORO_* say more."""
    found = resolve({}, OTEL)
    assert found.destination.traces_url == "http://otel:1/v1/traces"
    assert found.destination.headers == {"authorization": "Bearer x", "a": "b"}
    assert found.identity.customer_id == "from-otel"
    assert found.identity.product_type == "AI_AGENT"
    assert found.origins["endpoint"] == "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_our_variables_win_over_otel() -> None:
    """AFORO_* beat OTEL_*, and headers meant for another endpoint are not sent to ours."""
    found = resolve({}, OTEL | AFORO)
    assert found.destination.traces_url == "http://aforo:2/v1/traces"
    assert found.destination.headers == {"X-API-Key": "key-aforo"}
    assert found.identity.customer_id == "from-aforo"
    assert found.identity.product_type == "API"


def test_arguments_win_over_everything() -> None:
    """What `init` says beats the environment."""
    arguments = {
        "endpoint": "http://argument:3",
        "customer_id": "arg",
        "api_key": "k",
        "product_type": "MCP_SERVER",
    }
    found = resolve(arguments, OTEL | AFORO)
    assert found.destination.traces_url == "http://argument:3/v1/traces"
    assert found.destination.headers == {"X-API-Key": "k"}
    assert found.identity.customer_id == "arg"
    assert found.identity.product_type == "MCP_SERVER"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("localhost:4318", "http://localhost:4318/v1/traces"),
        ("https://host/base/", "https://host/base/v1/traces"),
        ("https://host/v1/traces", "https://host/v1/traces"),
    ],
)
def test_an_endpoint_may_be_written_in_several_ways(endpoint: str, url: str) -> None:
    """With or without scheme, trailing slash and traces path."""
    assert resolve({"endpoint": endpoint}, {}).destination.traces_url == url


def test_the_traces_endpoint_is_taken_as_it_stands() -> None:
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is a whole address."""
    found = resolve({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h/odd"})
    assert found.destination.traces_url == "http://h/odd"


@pytest.mark.parametrize("value", ["many", "-1", "0", "1.5"])
def test_a_bad_bound_is_no_reason_to_fail(value: str) -> None:
    """A spool bound that is no number of bytes is replaced by the default, not raised."""
    assert resolve({}, {"AFORO_SPOOL_MAX_BYTES": value}).spool_bytes_max == 1 << 30


def test_the_key_is_not_shown() -> None:
    """Neither key nor headers stand in the representation of the settings."""
    assert "key-aforo" not in repr(resolve({}, OTEL | AFORO))


def test_segments_belong_to_collector_and_key() -> None:
    """Two keys, or two collectors, never share a fingerprint."""
    marks = {
        resolve({"endpoint": endpoint, "api_key": key}, {}).destination.fingerprint
        for endpoint in ("http://a", "http://b")
        for key in ("k", "l", None)
    }
    assert len(marks) == 6


def test_init_may_be_called_again(sink: Sink, spool: Path) -> None:
    """The same call twice changes nothing; another one changes only what it names."""
    aforo_sdk.init(endpoint=sink.url, customer_id="acme", spool_dir=spool)
    with aforo_sdk.session("s-1"):
        pass
    sender = runtime._start()
    aforo_sdk.init(endpoint=sink.url, customer_id="acme", spool_dir=spool)
    assert runtime._start() is sender
    aforo_sdk.init(customer_id="globex", team_id="ops")
    assert runtime._start() is sender
    assert plugin.current_identity().customer_id == "globex"
    assert plugin.current_identity().team_id == "ops"
    assert runtime.settings().destination.base_url == sink.url


def test_init_is_optional(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment alone is enough."""
    monkeypatch.setenv("AFORO_ENDPOINT", sink.url)
    monkeypatch.setenv("AFORO_CUSTOMER_ID", "from-environment")
    aforo_sdk.record_usage("translations", 1)
    assert aforo_sdk.flush(10.0)
    assert attributes_of(sink.spans[0])["aforo.customer.id"] == "from-environment"


def test_everything_public_is_there_and_nothing_else() -> None:
    """`__all__` names what the package exports, each documented."""
    for name in aforo_sdk.__all__:
        assert getattr(aforo_sdk, name).__doc__, name
    assert set(aforo_sdk.__all__) >= {"init", "session", "tool", "agent", "step", "record_usage", "flush"}
    assert aforo_sdk.__all__ == sorted(aforo_sdk.__all__)


def test_the_version_is_the_distributions() -> None:
    """The version that travels with every span is that of the installed distribution."""
    assert version("aforo-sdk") == SDK_VERSION


def test_importing_is_light() -> None:
    """`import aforo_sdk` loads neither an HTTP client nor the OpenTelemetry SDK."""
    program = (
        "import sys, aforo_sdk\n"
        "heavy = ('requests', 'urllib3', 'opentelemetry.sdk', 'asyncio', 'email')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
