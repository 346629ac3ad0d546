"""The one place where a collector is wired together: store, writer, catalogs, reading, routes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from secrets import token_urlsafe
from time import time_ns
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.routing import Route

from aforo_collector.api import ingest, otlp
from aforo_collector.api.credentials import Credentials, Tenant, digest_of
from aforo_collector.api.desk import Desk
from aforo_collector.api.openapi import describe
from aforo_collector.api.problems import answer_with_problems
from aforo_collector.api.request_ids import RequestIds
from aforo_collector.api.routes import ROUTERS
from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.session import Policy
from aforo_collector.prices.book import PriceBook
from aforo_collector.service.catalogs import Catalogs
from aforo_collector.service.closing import close_session
from aforo_collector.service.correcting import Correcting
from aforo_collector.service.intake import Intake
from aforo_collector.service.reading import Reading
from aforo_collector.service.uploads import Uploads
from aforo_collector.service.writer import Writer
from aforo_collector.settings import Settings
from aforo_collector.store.figures import figures
from aforo_collector.store.folder_lock import folder_lock
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.tenant_rows import newest_catalogs, stored_keys
from aforo_collector.store.unpriced_rows import unpriced_calls
from aforo_collector.store.upload_files import UploadFiles

logger = logging.getLogger(__name__)

DEV_TENANT = "dev"
DEV_KEY = "sk_test_dev"
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
            credentials = _credentials(settings, database, store, policy, say)
            _load_catalogs(database, catalogs, credentials, settings)
            files = UploadFiles(settings.data)
            uploads = Uploads(database, store, writer, files, settings.upload_unpacked_bytes_max)
            writer.start()
            uploads.start()
            try:
                desk = Desk(
                    settings,
                    credentials,
                    writer,
                    catalogs,
                    Reading(database, catalogs.catalog, policy),
                    uploads,
                    partial(_asked, database, figures),
                    partial(_asked, database, unpriced_calls),
                    partial(close_session, store, writer),
                    Correcting(store, writer),
                )
                yield Collector(_application(desk), partial(_warm_up, catalogs, credentials))
            finally:
                uploads.stop()
                writer.stop()
        finally:
            database.close()


def _credentials(
    settings: Settings, database: Database, store: SqliteWriter, policy: Policy, say: Say
) -> Credentials:
    """The stored keys; in development the well-known one, else a generated one when there is none yet."""
    store.begin()
    tenant_id = DEV_TENANT if settings.dev else TENANT
    own = Tenant(store.tenant(tenant_id), tenant_id)
    known = [(key.digest, Tenant(key.tenant_no, key.tenant_id)) for key in stored_keys(database.write)]
    if settings.dev:
        known.append((digest_of(DEV_KEY), own))
    elif not known:
        key = f"sk_live_{token_urlsafe(24)}"
        say(f"API key of this collector, shown this once: {key}")
        store.put_key(digest_of(key), own.tenant_no, "first", time_ns())
        known.append((digest_of(key), own))
    store.commit(policy)
    return Credentials(known, own if settings.dev else None)


def _load_catalogs(
    database: Database, catalogs: Catalogs, credentials: Credentials, settings: Settings
) -> None:
    bodies = newest_catalogs(database.write)
    for tenant in credentials.tenants:
        if tenant.tenant_no in bodies:
            catalogs.start_from(tenant.tenant_no, bodies[tenant.tenant_no])
        elif settings.dev and tenant.tenant_id == DEV_TENANT:
            catalogs.start(tenant.tenant_no, Catalog(recorded_metrics=("*",)))


def _warm_up(catalogs: Catalogs, credentials: Credentials) -> None:
    try:
        for tenant in credentials.tenants:
            catalogs.book(tenant.tenant_no).preload()
            catalogs.catch_up(tenant.tenant_no)
    except Exception:
        logger.exception("costs that were unknown were not looked up again; it is tried at the next start")


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
        app.include_router(router)
    describe(app)
    answer_with_problems(app)
    app.add_middleware(RequestIds)
    return app
