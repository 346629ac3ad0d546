"""Settings of a collector: flags of `aforo serve` over the environment over defaults.

Each field carries its environment variable and the sentence that `aforo serve --help` shows, so that
neither can be forgotten.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
DATA_FOLDER = Path("~/.local/share/aforo")
_BOUNDS = {"port": (0, 65_535), "backfill_days_max": (90, 3_650)}
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")


class SettingError(ValueError):
    """A setting that cannot be used; says which one and what it may be. Nothing was started."""


def _setting(default: Any, env: str, told: str) -> Any:
    return field(default=default, metadata={"env": env, "told": told})


def _secret(env: str, told: str) -> Any:
    """A setting that has no flag, which every user of the machine could read, and that no message repeats."""
    return field(default="", repr=False, metadata={"env": env, "told": told, "flag": False})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a collector runs with; times in seconds, sizes in bytes."""

    host: str = _setting("127.0.0.1", "AFORO_HOST", "Address to listen on.")
    port: int = _setting(4318, "AFORO_PORT", "Port to listen on; 0 takes a free one.")
    data: Path = _setting(DATA_FOLDER, "AFORO_DATA", "Folder of the database; made if it is not there.")
    dev: bool = _setting(
        False, "AFORO_DEV", "Development: loopback only, tenant `dev`, API key `sk_test_dev` or none at all."
    )
    session_idle_s: int = _setting(
        60, "AFORO_SESSION_IDLE_S", "Seconds without activity until a session is IDLE."
    )
    session_timeout_s: int = _setting(
        3600, "AFORO_SESSION_TIMEOUT_S", "Seconds without activity until a session is CLOSED."
    )
    session_age_s_max: int | None = _setting(
        None,
        "AFORO_SESSION_AGE_S_MAX",
        "Seconds after which a session is CLOSED in any case; none by default.",
    )
    body_bytes_max: int = _setting(
        16 * MIB, "AFORO_BODY_BYTES_MAX", "Largest request body in bytes; unpacked, four times as much."
    )
    rate_limit_per_minute: int | None = _setting(
        None,
        "AFORO_RATE_LIMIT_PER_MINUTE",
        "Requests a minute for each key that has no limit of its own; none by default.",
    )
    token_issuer: str = _setting(
        "aforo-collector", "AFORO_TOKEN_ISSUER", "Who access tokens say has issued them."
    )
    secret_key: str = _secret(
        "AFORO_SECRET_KEY",
        "Key under which secrets are kept, base64 of 32 bytes; by default `secret.key` in the data folder.",
    )
    upload_bytes_max: int = _setting(
        50 * MIB,
        "AFORO_UPLOAD_BYTES_MAX",
        "Largest uploaded file in bytes; unpacked, forty times as much.",
    )
    backfill_days_max: int = _setting(
        90,
        "AFORO_BACKFILL_DAYS_MAX",
        "How old rows of an upload may be that asks for it, in days; to 3650. For tenants that do not say.",
    )

    @property
    def unpacked_bytes_max(self) -> int:
        """The largest body after its content encoding is undone."""
        return 4 * self.body_bytes_max

    @property
    def upload_unpacked_bytes_max(self) -> int:
        """The largest uploaded file after it is unpacked; logs shrink to a twentieth."""
        return 40 * self.upload_bytes_max

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def settings_of(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings in force; a flag that is None was not given. Raises `SettingError`."""
    given: dict[str, Any] = {}
    for item in fields(Settings):
        value, source = flags.get(item.name), f"--{item.name.replace('_', '-')}"
        if value is None:
            value, source = environment.get(item.metadata["env"]), item.metadata["env"]
        if value is not None and value != "":
            given[item.name] = _read(item.name, value, source)
    settings = Settings(**given)
    settings = _replace_home(settings)
    _check(settings)
    return settings


def _read(name: str, value: Any, source: str) -> Any:
    if name in ("host", "token_issuer", "secret_key"):
        return str(value)
    if name == "data":
        return Path(value)
    if name == "dev":
        return value if isinstance(value, bool) else _switch(str(value), source)
    try:
        number = int(value)
    except ValueError:
        raise SettingError(f"{source} is {value!r}; it must be a whole number") from None
    low, high = _BOUNDS.get(name, (1, 10**12))
    if not low <= number <= high:
        raise SettingError(f"{source} is {number}; it must be between {low} and {high}")
    return number


def _switch(text: str, source: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise SettingError(f"{source} is {text!r}; it must be 1 or 0")
    return word in _TRUE


def _replace_home(settings: Settings) -> Settings:
    from dataclasses import replace

    return replace(settings, data=settings.data.expanduser())


def _check(settings: Settings) -> None:
    if settings.dev and not settings.loopback:
        raise SettingError(
            f"--dev accepts requests without a key and therefore listens on loopback only, not on "
            f"{settings.host!r}; give --host 127.0.0.1, or leave --dev away"
        )
