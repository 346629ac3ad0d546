"""The one place where a collector is wired together: store, writer, catalogs, reading, routes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from time import time_ns
from typing import Any, NamedTuple

from fastapi import Depends, FastAPI
from starlette.routing import Route

from aforo_collector.api import ingest, otlp
from aforo_collector.api.credentials import Credentials
from aforo_collector.api.desk import Desk, admitted
from aforo_collector.api.openapi import describe
from aforo_collector.api.problems import answer_with_problems
from aforo_collector.api.request_ids import RequestIds
from aforo_collector.api.routes import ROUTERS
from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.credential import Credential
from aforo_collector.domain.session import Policy
from aforo_collector.prices.book import PriceBook
from aforo_collector.service.catalogs import Catalogs
from aforo_collector.service.closing import close_session
from aforo_collector.service.correcting import Correcting
from aforo_collector.service.intake import Intake
from aforo_collector.service.keyring import Keyring, digest_of, new_secret
from aforo_collector.service.reading import Reading
from aforo_collector.service.repeats import Repeats
from aforo_collector.service.tokens import Tokens
from aforo_collector.service.uploads import Uploads
from aforo_collector.service.webhook_sources import WebhookSources
from aforo_collector.service.webhooks import Webhooks
from aforo_collector.service.writer import Stopped, Writer
from aforo_collector.settings import Settings
from aforo_collector.store.credential_rows import (
    StoredSecret,
    stored_credentials,
    stored_ended_tokens,
    stored_secrets,
)
from aforo_collector.store.figures import figures
from aforo_collector.store.folder_lock import folder_lock
from aforo_collector.store.signing_keys import SigningKeys
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.tenant_rows import newest_catalogs, tenants
from aforo_collector.store.unpriced_rows import unpriced_calls
from aforo_collector.store.upload_files import UploadFiles
from aforo_collector.store.vault import vault_of

logger = logging.getLogger(__name__)

DEV_TENANT = "dev"
TENANT = "default"
Say = Callable[[str], None]


class Collector(NamedTuple):
    """A collector that is open: its ASGI application, and what it does once it answers.

    `warm_up` loads the public prices, which takes longer than a start may, and books the costs that they know
    by now; until then the first cost that is asked for loads them.
    """

    app: FastAPI
    warm_up: Callable[[], None]


@contextmanager
def opened(settings: Settings, say: Say) -> Iterator[Collector]:
    """A collector on its data folder, from open to cleanly closed; `say` tells the operator.

    Raises `StoreError` when the folder cannot be used.
    """
    with folder_lock(settings.data):
        database = Database(settings.data)
        try:
            policy = Policy(settings.session_idle_s, settings.session_timeout_s, settings.session_age_s_max)
            store = SqliteWriter(database)
            writer = Writer(store, Intake(store, PriceBook().cost, policy), policy)
            catalogs = Catalogs(store, writer)
            own = _own(settings, store, policy, say)
            _load_catalogs(database, catalogs, own)
            keyring = Keyring(
                store,
                writer,
                catalogs,
                stored_credentials(database.write),
                stored_secrets(database.write),
                stored_ended_tokens(database.write),
            )
            tokens = Tokens(keyring, SigningKeys(settings.data), settings.token_issuer)
            sources = WebhookSources(database, store, writer, vault_of(settings.data, settings.secret_key))
            webhooks = Webhooks(database, store, writer, sources)
            writer.chores.append(webhooks.sweep)
            files = UploadFiles(settings.data)
            uploads = Uploads(database, store, writer, files, settings.upload_unpacked_bytes_max)
            writer.start()
            uploads.start()
            try:
                desk = Desk(
                    settings,
                    Credentials(keyring, tokens, settings.rate_limit_per_minute, own),
                    Repeats(database, store),
                    writer,
                    catalogs,
                    Reading(database, catalogs.catalog, policy),
                    uploads,
                    partial(_asked, database, figures),
                    partial(_asked, database, unpriced_calls),
                    partial(close_session, store, writer),
                    Correcting(store, writer),
                    webhooks,
                )
                yield Collector(_application(desk), partial(_warm_up, catalogs, tenants(database.write)))
            finally:
                keyring.close()
                uploads.stop()
                writer.stop()
        finally:
            database.close()


def operator_key(data: Path, tenant_id: str, name: str) -> tuple[Credential, str]:
    """Make a key that may do everything in a tenant, made if it is not there, on a folder that nobody serves.

    Returns it with its secret. Raises `StoreError`, then nothing was changed.
    """
    with folder_lock(data):
        database = Database(data)
        try:
            store = SqliteWriter(database)
            store.begin()
            made = _put_key(store, tenant_id, name)
            store.commit(Policy())
        finally:
            database.close()
    return made


def _put_key(store: SqliteWriter, tenant_id: str, name: str) -> tuple[Credential, str]:
    secret = new_secret("sk_live_")
    key_id = f"key_{token_hex(12)}"
    key = Credential(key_id, store.tenant(tenant_id), tenant_id, name=name, created_ns=time_ns())
    store.credentials.put(key)
    store.credentials.put_secret(StoredSecret(digest_of(secret), key.key_id, 0))
    return key, secret


def _own(settings: Settings, store: SqliteWriter, policy: Policy, say: Say) -> Credential | None:
    """Who asks without a key: the developer in development. Else nobody, and a first start makes a key."""
    developer = None
    store.begin()
    if settings.dev:
        developer = Credential("key_dev", store.tenant(DEV_TENANT), DEV_TENANT, name="development")
    elif not store.credentials.any(store.tenant(TENANT)):
        _, secret = _put_key(store, TENANT, "first")
        say(f"API key of this collector, shown this once: {secret}")
    store.commit(policy)
    return developer


def _load_catalogs(database: Database, catalogs: Catalogs, developer: Credential | None) -> None:
    bodies = newest_catalogs(database.write)
    for tenant_no, body in bodies.items():
        catalogs.start_from(tenant_no, body)
    if developer is not None and developer.tenant_no not in bodies:
        catalogs.start(developer.tenant_no, Catalog(recorded_metrics=("*",)))


def _warm_up(catalogs: Catalogs, tenant_nos: Iterable[int]) -> None:
    for tenant_no in tenant_nos:
        try:
            catalogs.book(tenant_no).preload()
            catalogs.catch_up(tenant_no)
        except Stopped:
            return
        except Exception:
            logger.exception(
                "what was unknown of a tenant was not looked up again; it is tried at the next start"
            )


def _asked(database: Database, question: Callable[..., Any], *parameters: Any) -> Any:
    with database.reading() as connection:
        return question(connection, *parameters)


def _application(desk: Desk) -> FastAPI:
    app = FastAPI(
        title="Aforo collector",
        version="1",
        description="Sessions, usage events, provider cost and invoices from OpenTelemetry spans.",
        docs_url=None,
        redoc_url=None,
        routes=[Route("/v1/traces", otlp.traces, methods=["POST"]), *ingest.ROUTES],
    )
    app.state.desk = desk
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(admitted)])
    describe(app)
    answer_with_problems(app)
    app.add_middleware(RequestIds)
    return app
