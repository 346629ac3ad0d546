"""Sources of webhooks: who may push usage into a tenant, under which secret, and what it becomes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec

from aforo_collector.doors.webhooks.provider import BadSecret
from aforo_collector.doors.webhooks.terms import InvalidTerms, Terms, terms_of
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.vault import Vault
from aforo_collector.store.webhook_rows import Source, WebhookRows
from aforo_collector.views import Wire, instant, page

from .queries import check_limit, cursor_of, parts_of
from .repeats import Keep
from .writer import Writer

RETENTION_DAYS: Final = 30
RETENTION_DAYS_MAX: Final = 3_650
GRACE_S: Final = 86_400
GRACE_S_MAX: Final = 30 * 86_400
_NS_PER_S: Final = 1_000_000_000
_SECRET_BYTES: Final = 32
_TEXTS_MAX: Final = {"displayName": 200, "publicUrl": 2_000}
_TERMS: Final = ("options", "metricName", "eventFilter", "mappings", "customerMap")
_SETTINGS: Final = (*_TEXTS_MAX, *_TERMS)
_CHANGEABLE: Final = (*_SETTINGS, "active", "retentionDays")
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@lru_cache(512)
def _settings(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return found


@lru_cache(512)
def _terms(provider: str, text: str) -> Terms:
    said = _settings(text)
    return terms_of(provider, *(said.get(name) for name in _TERMS))


def terms_of_source(source: Source) -> Terms:
    """What a stored source wants of its deliveries."""
    return _terms(source.provider, source.settings)


def public_url_of(source: Source) -> str:
    """The URL that the provider was given, "" where it is the one that it calls."""
    return str(_settings(source.settings).get("publicUrl") or "")


class WebhookSources:
    """Makes, shows and changes sources; safe to call from any thread, every change waits for its commit."""

    def __init__(
        self,
        database: Database,
        store: SqliteWriter,
        writer: Writer,
        vault: Vault,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._rows = store.webhooks
        self._writer = writer
        self._vault = vault
        self._clock_ns = clock_ns

    def create(self, tenant_no: int, wanted: dict[str, Any], keep: Keep) -> Wire:
        """Make a source; its view with the secret, which is never shown again and not handed to `keep`.

        It has none where only the provider can give one and has not yet: many do so once they have the URL.
        Raises `InvalidTerms`.
        """
        provider = wanted.get("provider")
        if not isinstance(provider, str):
            raise InvalidTerms([("provider", "is missing")])
        known = {name: value for name, value in wanted.items() if name not in ("provider", "secret")}
        settings, active, retention_days = _changed({}, True, RETENTION_DAYS, known)
        secret = _secret(_terms(provider, settings), wanted.get("secret"))
        source_id, created_ns = str(uuid4()), self._clock_ns()
        sealed = self._vault.seal(secret, source_id) if secret else b""
        source = Source(
            0, tenant_no, source_id, provider, settings, active, retention_days, created_ns, sealed, b"", 0
        )
        view = self._view(source)

        def put(now_ns: int) -> None:
            self._rows.put_source(source)
            keep(view, now_ns)

        self._writer.command(put).result()
        return {**view, "secret": secret}

    def page(self, tenant_no: int, *, cursor: str | None = None, limit: int = 100) -> Wire:
        """A page of the tenant's sources, oldest first."""
        check_limit(limit)
        after_no = 0 if cursor is None else parts_of(cursor, 1)[0][0]
        with self._database.reading() as connection:
            found = WebhookRows(connection).sources(tenant_no, after_no, limit + 1)
        more = cursor_of(found[limit - 1].source_no) if len(found) > limit else None
        return page([self._view(source) for source in found[:limit]], more)

    def get(self, tenant_no: int, source_id: str) -> Wire | None:
        """The view of a source, None where the tenant has none of that id."""
        source = self.find(source_id, tenant_no)
        return None if source is None else self._view(source)

    def find(self, source_id: str, tenant_no: int | None = None) -> Source | None:
        """The stored source of an id as it stands in URLs, of a tenant if one is given."""
        try:
            source_id = str(UUID(source_id))
        except ValueError:
            return None
        with self._database.reading() as connection:
            return WebhookRows(connection).source(source_id, tenant_no)

    def secrets(self, source: Source, now_ns: int) -> list[str]:
        """The secrets that hold, if there are any: the newest first, then the one before while it does."""
        sealed = [source.secret] + ([source.former] if now_ns < source.former_until_ns else [])
        return [self._vault.open(one, source.source_id) for one in sealed if one]

    def change(self, tenant_no: int, source_id: str, changes: dict[str, Any]) -> Wire | None:
        """Set what is named, to its default where it is null; the new view. Raises `InvalidTerms`."""

        def changed(source: Source, _: int) -> Source:
            said = _settings(source.settings)
            settings, active, days = _changed(said, bool(source.active), source.retention_days, changes)
            _terms(source.provider, settings)
            return source._replace(settings=settings, active=active, retention_days=days)

        return self._replaced(tenant_no, source_id, changed)

    def rotate(self, tenant_no: int, source_id: str, secret: Any, grace_s: Any) -> Wire | None:
        """Give a source a new secret; the one before holds for `grace_s` more. The view with the new one.

        Raises `InvalidTerms`.
        """
        if grace_s is None:
            grace_s = GRACE_S
        if isinstance(grace_s, bool) or not isinstance(grace_s, int) or not 0 <= grace_s <= GRACE_S_MAX:
            raise InvalidTerms([("graceS", f"is no number of seconds from 0 to {GRACE_S_MAX}")])
        new: str | None = None

        def rotated(source: Source, now_ns: int) -> Source:
            nonlocal new
            new = _secret(terms_of_source(source), secret)
            if new is None:
                detail = f"is missing; {source.provider} gives one, only it knows which"
                raise InvalidTerms([("secret", detail)])
            until_ns = now_ns + grace_s * _NS_PER_S if grace_s and source.secret else 0
            sealed = self._vault.seal(new, source.source_id)
            return source._replace(secret=sealed, former=source.secret, former_until_ns=until_ns)

        view = self._replaced(tenant_no, source_id, rotated)
        return None if view is None else {**view, "secret": new}

    def delete(self, tenant_no: int, source_id: str) -> bool:
        """Take a source out of use, with its log; False where the tenant has none of that id."""
        source = self.find(source_id, tenant_no)
        if source is None:
            return False
        self._writer.command(lambda now_ns: self._rows.delete_source(source.source_id, now_ns)).result()
        return True

    def _replaced(
        self, tenant_no: int, source_id: str, change: Callable[[Source, int], Source]
    ) -> Wire | None:
        """Read, change and write inside one transaction, so that two changes at once both hold."""
        found = self.find(source_id, tenant_no)
        if found is None:
            return None

        def replace(now_ns: int) -> Source | None:
            source = self._rows.source(found.source_id, tenant_no)
            if source is not None:
                source = change(source, now_ns)
                self._rows.put_source(source)
            return source

        source = self._writer.command(replace).result()
        return None if source is None else self._view(source)

    def _view(self, source: Source) -> Wire:
        said = _settings(source.settings)
        former_until_ns = source.former_until_ns if source.former_until_ns > self._clock_ns() else 0
        return {
            "sourceId": source.source_id,
            "provider": source.provider,
            "path": f"/v1/ingest/webhook/{source.source_id}",
            **{name: said.get(name) for name in _SETTINGS},
            "active": bool(source.active),
            "retentionDays": source.retention_days,
            "createdAt": instant(source.created_ns),
            "formerSecretUntil": instant(former_until_ns),
        }


def _secret(terms: Terms, given: Any) -> str | None:
    """The secret that is given, else one that is made; None where only the provider can make one."""
    provider = terms.provider
    if given is None:
        return None if provider.mint is None else provider.mint(os.urandom(_SECRET_BYTES))
    try:
        if not isinstance(given, str):
            raise BadSecret("a secret is text")
        given.encode()
        provider.check_secret(given)
    except (BadSecret, UnicodeEncodeError) as error:
        raise InvalidTerms([("secret", str(error))]) from None
    return given


def _changed(
    said: dict[str, Any], active: bool, retention_days: int, changes: dict[str, Any]
) -> tuple[str, bool, int]:
    """The settings as JSON, whether the source is active, and its retention, after changes."""
    problems = [
        (name[:60], f"is none of {', '.join(_CHANGEABLE)}") for name in changes if name not in _CHANGEABLE
    ]
    held = dict(said)
    for name, value in changes.items():
        if name == "eventFilter" and isinstance(value, str):
            held[name] = [part.strip() for part in value.split(",") if part.strip()]
        elif name in _SETTINGS:
            held[name] = value
    for name, length_max in _TEXTS_MAX.items():
        value = held.get(name)
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= length_max):
            problems.append((name, f"is no text of 1 to {length_max} characters"))
    if isinstance(url := held.get("publicUrl"), str) and not _is_url(url):
        problems.append(("publicUrl", "is no URL that starts with http:// or https://"))
    switch: Any = changes.get("active", active)
    if not isinstance(switch, bool):
        problems.append(("active", "is neither true nor false"))
    days = changes.get("retentionDays", retention_days)
    days = RETENTION_DAYS if days is None else days
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= RETENTION_DAYS_MAX:
        problems.append(("retentionDays", f"is no number of days from 0 to {RETENTION_DAYS_MAX}"))
    if problems:
        raise InvalidTerms(problems)
    try:
        text = _encode({name: item for name, item in held.items() if item is not None}).decode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidTerms([("mappings", "cannot be kept as JSON")]) from None
    return text, switch, days


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
