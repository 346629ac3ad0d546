"""`aforo mcp-proxy`: meters an MCP server that one cannot change."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.cli import FAILED, OK
from aforo_sdk.plugin import Identity

from aforo_mcp import links
from aforo_mcp.proxy_calls import Connection, Parked, Payment

LISTEN: Final = "127.0.0.1:3100"
PRODUCT_TYPES: Final = (c.API, c.AGENTIC_API, c.AI_AGENT, c.MCP_SERVER)


def main(arguments: Sequence[str]) -> int:
    """Meter the tool calls of an MCP server that you cannot change.

    The proxy stands between a client and the server and passes everything on as it is. Either it starts a server
    that speaks over stdio (put the server's command after `--`) and takes its place, exit code included; or it
    listens for HTTP and passes requests on to the server at --upstream, any number of clients at once. Each
    `tools/call` becomes one span in the spool: the name of the tool, how it ended, how long it took. Where spans
    go is up to AFORO_ENDPOINT and AFORO_API_KEY.
    """
    parser = _parser()
    words = list(arguments)
    command = words[words.index("--") + 1 :] if "--" in words else []
    chosen = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    if bool(chosen.upstream) == bool(command):
        parser.error(
            "give either --upstream URL or, after `--`, the command of a server; nothing was started"
        )
    logging.basicConfig(format="aforo mcp-proxy: %(message)s", level=logging.WARNING, stream=sys.stderr)
    environment = dict(os.environ)
    if chosen.server_name:
        os.environ["OTEL_SERVICE_NAME"] = chosen.server_name
    stated = Identity(
        customer_id=chosen.customer,
        team_id=chosen.team,
        agent_id=chosen.agent,
        session_id=chosen.session,
        product_type=chosen.product_type,
    )
    payment = Payment(stated, trusts_meta=not chosen.ignore_meta)
    if command:
        return _stdio(command, environment, payment)
    host, _, port = chosen.listen.rpartition(":")
    return asyncio.run(_http(chosen.upstream, host.strip("[]"), int(port), payment))


def _stdio(command: list[str], environment: dict[str, str], payment: Payment) -> int:
    from aforo_mcp import proxy_stdio

    parked = Parked()
    link = links.for_child()
    transport = plugin.text("network.transport", "pipe")
    connection = Connection(payment, parked, link.session_id, transport, link)
    environment[links.ENVIRONMENT] = link.text
    return proxy_stdio.run(command, environment, connection, parked)


async def _http(upstream: str, host: str, port: int, payment: Payment) -> int:
    from aiohttp import web
    from yarl import URL

    from aforo_mcp import proxy_http
    from aforo_mcp.proxy_exchange import Sessions

    parked = Parked()
    loopback_only = proxy_http.is_loopback(host)
    proxy = proxy_http.HttpProxy(URL(upstream), Sessions(payment, parked), loopback_only=loopback_only)
    runner = proxy_http.runner(proxy)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
    except OSError as error:
        sys.stderr.write(f"aforo mcp-proxy: cannot listen at {host}:{port}: {error}. Nothing was started.\n")
        await proxy.close()
        await runner.cleanup()
        return FAILED
    taken = runner.addresses[0]
    shown = f"[{taken[0]}]" if ":" in taken[0] else taken[0]
    path = URL(upstream).raw_path
    sys.stderr.write(f"aforo mcp-proxy: http://{shown}:{taken[1]}{path} passes on to {upstream}\n")
    await stopped.wait()
    await runner.cleanup()
    await proxy.close()
    parked.close()
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "aforo mcp-proxy",
        usage="aforo mcp-proxy [OPTIONS] -- COMMAND [ARGUMENT …]\n"
        "       aforo mcp-proxy [OPTIONS] --upstream URL [--listen HOST:PORT]",
        description=main.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option(
        "--upstream",
        type=_url,
        metavar="URL",
        help="Passes HTTP requests on to the server at this address. Paths stay what they are: a client uses "
        "the proxy's host and port with the server's own path.",
    )
    option(
        "--listen",
        type=_address,
        default=LISTEN,
        metavar="HOST:PORT",
        help=f"Listens here for HTTP; port 0 takes a free one. The default is {LISTEN}. On a loopback address, "
        "requests for other host names are refused.",
    )
    option("--customer", metavar="ID", help="Bills every call to this customer, whatever clients say.")
    option("--team", metavar="ID", help="Bills every call to this team, whatever clients say.")
    option("--agent", metavar="ID", help="Takes this agent for the caller, whatever clients say.")
    option(
        "--session",
        metavar="ID",
        help="Puts every call into this session. Without it, it is the session that a client names in `_meta` or "
        "in its baggage, else the protocol's own session where there is one.",
    )
    option(
        "--product-type",
        choices=PRODUCT_TYPES,
        default=os.environ.get("AFORO_PRODUCT_TYPE") or c.MCP_SERVER,
        help="Sells the calls as this kind of product. The default is AFORO_PRODUCT_TYPE, else MCP_SERVER.",
    )
    option(
        "--server-name",
        metavar="NAME",
        help="Names the server in the telemetry (service.name). The default is OTEL_SERVICE_NAME.",
    )
    option(
        "--ignore-meta",
        action="store_true",
        help="Believes nothing that clients say about who they are; use it where they are not your own.",
    )
    return parser


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise argparse.ArgumentTypeError(f"{text!r} is no address such as http://127.0.0.1:8000/mcp")
    return text


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT such as {LISTEN}")
    return text
