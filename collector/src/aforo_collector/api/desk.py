"""What the routes work with: one value, made by `app`, carried by the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from aforo_collector.service.catalogs import Catalogs
from aforo_collector.service.correcting import Correcting
from aforo_collector.service.reading import Reading
from aforo_collector.service.uploads import Uploads
from aforo_collector.service.writer import Writer
from aforo_collector.settings import Settings
from aforo_collector.store.figures import Figures

from .bodies import Bodies
from .credentials import Credentials, Tenant


@dataclass(frozen=True, slots=True)
class Desk:
    """The use cases behind the routes, and who may use them.

    `unpriced` lists the calls of a tenant number whose cost is unknown.
    `close` closes a session by (tenant number, session id, customer id or None); False when there is none.
    """

    settings: Settings
    credentials: Credentials
    writer: Writer
    catalogs: Catalogs
    reading: Reading
    uploads: Uploads
    figures: Callable[[], Figures]
    unpriced: Callable[[int], list[dict[str, Any]]]
    close: Callable[[int, str, str | None], bool]
    corrections: Correcting
    bodies: Bodies = field(default_factory=Bodies)


async def desk_of(request: Request) -> Desk:
    """The desk of the application that serves a request."""
    desk: Desk = request.app.state.desk
    return desk


async def tenant_of(request: Request) -> Tenant:
    """The tenant of a request; raises `Problem` 401."""
    desk: Desk = request.app.state.desk
    return desk.credentials.tenant(request.headers)


AtDesk = Annotated[Desk, Depends(desk_of)]
OfTenant = Annotated[Tenant, Depends(tenant_of)]
