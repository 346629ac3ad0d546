"""`aforo serve`: run a collector until it is told to stop."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NoReturn

import click

from aforo_collector.settings import SettingError, Settings, settings_of

from .exits import CONFLICT, FAILED, UNAVAILABLE, USAGE, Failure, run

if TYPE_CHECKING:
    from aforo_collector.app import Collector

CONNECTIONS_WAITING_MAX = 1024
READS_AT_ONCE = 4
GARBAGE_LOOK_S = 1
GARBAGE_OBJECTS_MIN = 100_000


def main(argv: list[str]) -> int:
    """Run a collector: OTLP in, sessions, usage events, costs and invoices out."""
    return run(serve, "serve", argv)


def _told(name: str) -> str:
    item = Settings.__dataclass_fields__[name]
    told: str = item.metadata["told"]
    default = item.default
    shown = "" if default in (None, False, "") else f" Default {default}."
    return f"{told}{shown} [{item.metadata['env']}]"


@click.command(help=main.__doc__, epilog=f"Environment only: {_told('secret_key')}")
@click.option("--host", help=_told("host"))
@click.option("--port", help=_told("port"))
@click.option("--data", metavar="DIR", help=_told("data"))
@click.option("--dev/--no-dev", default=None, help=_told("dev"))
@click.option("--session-idle-s", metavar="S", help=_told("session_idle_s"))
@click.option("--session-timeout-s", metavar="S", help=_told("session_timeout_s"))
@click.option("--session-age-s-max", metavar="S", help=_told("session_age_s_max"))
@click.option("--body-bytes-max", metavar="BYTES", help=_told("body_bytes_max"))
@click.option("--rate-limit-per-minute", metavar="N", help=_told("rate_limit_per_minute"))
@click.option("--token-issuer", metavar="NAME", help=_told("token_issuer"))
@click.option("--upload-bytes-max", metavar="BYTES", help=_told("upload_bytes_max"))
@click.option("--backfill-days-max", metavar="DAYS", help=_told("backfill_days_max"))
def serve(**flags: Any) -> int:
    """Run until SIGTERM or Ctrl-C; what was answered is on disk either way."""
    # What other distributions plug into pydantic can take longer to load than everything here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from aforo_collector.app import opened
    from aforo_collector.store.folder_lock import FolderInUse
    from aforo_collector.store.sqlite import StoreError

    try:
        settings = settings_of(flags, os.environ)
    except SettingError as error:
        raise Failure(USAGE, f"{error}. Nothing was started.") from None
    signal.signal(signal.SIGTERM, _leave)
    try:
        with _listening(settings) as listener, opened(settings, _say) as collector:
            _serve(collector, listener, settings)
    except StoreError as error:
        raise Failure(CONFLICT if isinstance(error, FolderInUse) else FAILED, str(error)) from None
    except KeyboardInterrupt:
        _say("stopped")
    return 0


def _leave(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _listening(settings: Settings) -> socket.socket:
    """A bound socket, so that a port that is taken is known before the store is opened."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(
            (settings.host, settings.port), family=family, backlog=CONNECTIONS_WAITING_MAX
        )
    except OSError as error:
        raise Failure(
            UNAVAILABLE,
            f"{settings.host}:{settings.port} cannot be listened on: {error.strerror or error}. "
            "Nothing was started; give another --port.",
        ) from None


def _serve(collector: Collector, listener: socket.socket, settings: Settings) -> None:
    import uvicorn
    from anyio import to_thread

    class Server(uvicorn.Server):
        """Tells when it is ready, and only then does what can wait."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Start to answer."""
            await super().startup(sockets)
            to_thread.current_default_thread_limiter().total_tokens = READS_AT_ONCE
            _greet(settings, listener)
            Thread(target=_settle_in, args=(collector,), name="aforo-warm-up", daemon=True).start()

    config = uvicorn.Config(
        collector.app,
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    Server(config).run(sockets=[listener])


def _settle_in(collector: Collector) -> None:
    """Load what can wait, then look for garbage only when there may be some."""
    collector.warm_up()
    collect_garbage()


def collect_garbage(stopped: Event | None = None) -> None:
    """Until `stopped`, collect cycles whenever so many objects have been made, and not freed, that it may pay.

    What a request leaves behind is freed by counting references. Looking for cycles after every so many
    allocations would cost a tenth of the intake, looking every few seconds would hold up every hundredth
    request by a tenth of a second, and either finds next to nothing.
    """
    stopped = stopped or Event()
    gc.collect()
    gc.freeze()
    gc.disable()
    while not stopped.wait(GARBAGE_LOOK_S):
        if gc.get_count()[0] >= GARBAGE_OBJECTS_MIN:
            gc.collect()


def _greet(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    where = f"[{host}]" if ":" in host else host
    _say(f"data in {settings.data}")
    _say(
        "doors open: POST /v1/traces (OTLP/HTTP), /v1/ingest (events), /v1/ingest/webhook, /v1/ingest/upload"
    )
    if settings.dev:
        _say("development: tenant dev, API key sk_test_dev, or none")
    _say(f"listening on http://{where}:{port}")
