"""The settings in force, and where each came from.

Precedence, for each setting by itself: argument of `init()`, then `AFORO_*`, then `OTEL_*`, then the default.

| setting | argument | environment | default |
|---|---|---|---|
| collector | endpoint | AFORO_ENDPOINT, OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT | http://localhost:4318 |
| key | api_key | AFORO_API_KEY | none |
| payer | customer_id, team_id | AFORO_CUSTOMER_ID, AFORO_TEAM_ID, OTEL_RESOURCE_ATTRIBUTES | none |
| caller | agent_id, app_id | AFORO_AGENT_ID, AFORO_APP_ID, OTEL_RESOURCE_ATTRIBUTES | none |
| product | product_type | AFORO_PRODUCT_TYPE, OTEL_RESOURCE_ATTRIBUTES | AGENTIC_API |
| spool folder | spool_dir | AFORO_SPOOL_DIR | $XDG_STATE_HOME/aforo/spool |
| spool bound, bytes | spool_max_bytes | AFORO_SPOOL_MAX_BYTES | 1073741824 |
| copies for the application | tee | – | False |
| message content | – | OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT | not captured |

`OTEL_EXPORTER_OTLP_HEADERS` are sent only to an endpoint that came from OTEL_*. OTEL_SERVICE_NAME and
OTEL_RESOURCE_ATTRIBUTES become the resource of every span.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from aforo_sdk import conventions, wire
from aforo_sdk.identity import ATTRIBUTE_NAMES, Identity
from aforo_sdk.notices import warn_once

# Not read from the installed metadata: that imports much, and would do so inside the first metered call.
SDK_VERSION: Final = "0.1.0"
DEFAULT_ENDPOINT: Final = "http://localhost:4318"
DEFAULT_PRODUCT_TYPE: Final = conventions.AGENTIC_API
DEFAULT_SPOOL_BYTES_MAX: Final = 1 << 30
TRACES_PATH: Final = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Destination:
    """A collector and the key that pays there. `traces_url` is where spans are posted."""

    traces_url: str
    api_key: str | None = field(default=None, repr=False)
    extra_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def base_url(self) -> str:
        """The collector's address, without the traces path."""
        return self.traces_url.removesuffix(TRACES_PATH)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request, the key among them."""
        found = dict(self.extra_headers)
        if self.api_key:
            found["X-API-Key"] = self.api_key
        return found

    @property
    def on_loopback(self) -> bool:
        """Whether the collector runs on this machine, where compressing and proxies are in the way."""
        try:
            host = urlsplit(self.traces_url).hostname or ""
        except ValueError:
            return False
        return host in ("localhost", "::1") or host.startswith("127.")

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that stand for collector and key: segments are delivered only under their own."""
        text = "\0".join((self.traces_url, self.api_key or "", repr(self.extra_headers)))
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def traces_url(endpoint: str) -> str:
    """Where spans are posted for a collector's address: with the traces path, and with a scheme if it has
    none.
    """
    address = endpoint.strip().rstrip("/")
    if "://" not in address:
        address = f"http://{address}"
    return address if address.endswith(TRACES_PATH) else address + TRACES_PATH


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `init()`, the environment and the defaults decide. `origins` names the source of
    each setting.
    """

    destination: Destination
    identity: Identity
    resource: bytes = field(repr=False)
    spool_dir: Path
    spool_bytes_max: int
    tee: bool
    capture_content: bool
    origins: Mapping[str, str] = field(repr=False)
    is_product_type_assumed: bool


def resolve(arguments: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """The settings that follow from the arguments of `init()` (None = not given) and an environment. Never
    raises.
    """
    look = _Lookup(arguments, environment)
    resource = _resource_attributes(environment)
    endpoint = look.text("endpoint", _ENDPOINT_NAMES, DEFAULT_ENDPOINT)
    origin = look.origins["endpoint"]
    destination = Destination(
        # The OpenTelemetry variable for traces holds the whole address and is taken as it stands.
        endpoint.strip() if origin == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" else traces_url(endpoint),
        look.text("api_key", ("AFORO_API_KEY",), "").strip() or None,
        _otel_headers(environment) if origin.startswith("OTEL_") else (),
    )
    identity = Identity(
        **{
            name: look.text(name, (f"AFORO_{name.upper()}",), "", resource.get(ATTRIBUTE_NAMES[name])) or None
            for name in ("customer_id", "team_id", "agent_id", "app_id")
        },
        product_type=look.text(
            "product_type",
            ("AFORO_PRODUCT_TYPE",),
            DEFAULT_PRODUCT_TYPE,
            resource.get(conventions.PRODUCT_TYPE),
        ),
    )
    content = look.text(
        "capture_content", ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",), "NO_CONTENT"
    )
    return Settings(
        destination,
        identity,
        wire.resource(resource),
        _absolute(look.text("spool_dir", ("AFORO_SPOOL_DIR",), _state_folder(environment))),
        look.size("spool_max_bytes", "AFORO_SPOOL_MAX_BYTES", DEFAULT_SPOOL_BYTES_MAX),
        bool(look.argument("tee", False)),
        content.strip().upper() in ("SPAN_ONLY", "SPAN_AND_EVENT", "TRUE"),
        look.origins,
        look.origins["product_type"] == "default",
    )


_ENDPOINT_NAMES: Final = (
    "AFORO_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)


class _Lookup:
    """One pass over the sources of each setting, which also notes where the value was found."""

    def __init__(self, arguments: Mapping[str, object], environment: Mapping[str, str]) -> None:
        self.arguments, self.environment = arguments, environment
        self.origins: dict[str, str] = {}

    def argument(self, name: str, default: object) -> object:
        value = self.arguments.get(name)
        self.origins[name] = "default" if value is None else "argument"
        return default if value is None else value

    def text(self, name: str, variables: tuple[str, ...], default: str, resource: object = None) -> str:
        value = self.arguments.get(name)
        if value is not None:
            self.origins[name] = "argument"
            return str(value)
        for variable in variables:
            if self.environment.get(variable):
                self.origins[name] = variable
                return self.environment[variable]
        self.origins[name] = "default" if resource is None else "OTEL_RESOURCE_ATTRIBUTES"
        return default if resource is None else str(resource)

    def size(self, name: str, variable: str, default: int) -> int:
        value = self.text(name, (variable,), str(default))
        try:
            size_bytes = int(value)
            if size_bytes > 0:
                return size_bytes
        except ValueError:
            pass
        warn_once(
            f"setting {name}",
            f"aforo: {self.origins[name]}: {value!r} is no number of bytes above 0; {default} is used.",
        )
        self.origins[name] = "default"
        return default


def _state_folder(environment: Mapping[str, str]) -> str:
    base = environment.get("XDG_STATE_HOME") or os.path.join("~", ".local", "state")
    return os.path.join(base, "aforo", "spool")


def _absolute(folder: str) -> Path:
    expanded = os.path.expanduser(folder)
    try:
        return Path(os.path.abspath(expanded))
    except OSError:
        # The working directory was removed under the program: the path is used as it stands.
        return Path(expanded)


def _resource_attributes(environment: Mapping[str, str]) -> dict[str, wire.AttributeValue]:
    found: dict[str, wire.AttributeValue] = {
        "telemetry.sdk.name": "aforo",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": SDK_VERSION,
    }
    found |= _pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    if environment.get("OTEL_SERVICE_NAME"):
        found[conventions.SERVICE_NAME] = environment["OTEL_SERVICE_NAME"]
    found.setdefault(
        conventions.SERVICE_NAME, f"unknown_service:{os.path.basename(sys.executable) or 'python'}"
    )
    return found


def _otel_headers(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    general = _pairs(environment.get("OTEL_EXPORTER_OTLP_HEADERS", ""))
    traces = _pairs(environment.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ""))
    return tuple(sorted((general | traces).items()))


def _pairs(value: str) -> dict[str, str]:
    """`key=value,key=value` with percent-encoded values, as OpenTelemetry writes lists in variables."""
    found = {}
    for part in value.split(","):
        key, equals, text = part.partition("=")
        if equals and key.strip():
            found[key.strip()] = unquote(text.strip())
    return found
