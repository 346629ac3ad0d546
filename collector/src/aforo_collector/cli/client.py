"""A command's way to a collector: reading endpoints over HTTP, errors as exit codes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlsplit

import click
import httpx2
import msgspec

from .exits import CONFLICT, FAILED, NOT_FOUND, UNAVAILABLE, USAGE, Failure

ENDPOINT_DEFAULT = "http://localhost:4318"
TIMEOUT_S = 30
PAGE_LENGTH_MAX = 1000

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EXITS = {404: NOT_FOUND, 409: CONFLICT, 422: USAGE, 503: UNAVAILABLE, 502: UNAVAILABLE, 504: UNAVAILABLE}


class Client:
    """Asks one collector; every error is a `Failure` with the exit code that fits."""

    def __init__(self, endpoint: str, api_key: str | None = None) -> None:
        self.endpoint = endpoint.rstrip("/")
        host = _host_of(self.endpoint)
        if host is None or not self.endpoint.startswith(("http://", "https://")):
            raise Failure(USAGE, f"{endpoint!r} is no endpoint; it looks like {ENDPOINT_DEFAULT}")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise Failure(
                USAGE, "the API key has characters that no key has; copy it again. Nothing was sent."
            )
        self._http = httpx2.Client(
            base_url=self.endpoint,
            headers={"X-API-Key": api_key} if api_key else {},
            timeout=TIMEOUT_S,
            trust_env=host not in _LOOPBACK,  # no proxy stands between a machine and itself
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """`data` of a reading endpoint; parameters that are None are left out."""
        return self._ask("GET", path, parameters)["data"]

    def page(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The whole answer of a reading endpoint, with its `meta`."""
        return self._ask("GET", path, parameters)

    def post(self, path: str, **parameters: Any) -> Any:
        """`data` of a request that does something."""
        return self._ask("POST", path, parameters)["data"]

    def send(self, path: str, document: Any) -> Any:
        """`data` of a request with a JSON body; numbers stay exact."""
        body = msgspec.json.Encoder(decimal_format="number").encode(document)
        return self._ask("POST", path, {}, content=body, headers={"Content-Type": "application/json"})["data"]

    def put(self, path: str, body: bytes, content_type: str) -> dict[str, Any]:
        """The whole answer to a body."""
        return self._ask("PUT", path, {}, content=body, headers={"Content-Type": content_type})

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}
    ) -> dict[str, Any]:
        """The whole answer to any request, with its body as it stands."""
        return self._ask(method, path, {}, content=body, headers=headers)

    def upload(self, path: str, name: str, file: BinaryIO, fields: Mapping[str, str]) -> dict[str, Any]:
        """The whole answer to a form with a file, which is read as it is sent and may take long to arrive."""
        return self._ask("POST", path, {}, files={"file": (name, file)}, data=dict(fields), timeout=None)

    def download(self, path: str, file: BinaryIO) -> None:
        """Write what stands at a path into a file, as it comes."""
        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    raise Failure(
                        _EXITS.get(response.status_code, FAILED), f"{path} answers {response.status_code}"
                    )
                file.writelines(response.iter_bytes())
        except httpx2.HTTPError as error:
            raise Failure(UNAVAILABLE, f"{self.endpoint} stopped answering ({error}); try again") from None

    def items(self, path: str, length_max: int, **parameters: Any) -> Iterator[Any]:
        """The items of a list, over as many pages as it takes, up to a number of them."""
        cursor = None
        while length_max > 0:
            limit = min(length_max, PAGE_LENGTH_MAX)
            answer = self._ask("GET", path, {**parameters, "cursor": cursor, "limit": limit})
            yield from answer["data"]
            length_max -= len(answer["data"])
            cursor = answer["meta"]["nextCursor"]
            if cursor is None:
                return

    def _ask(self, method: str, path: str, parameters: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            response = self._http.request(method, path, params=given or None, **more)
            answer: dict[str, Any] = response.json()
        except httpx2.HTTPError as error:
            raise Failure(
                UNAVAILABLE, f"no collector answers at {self.endpoint} ({error}); `aforo serve` starts one"
            ) from None
        except ValueError:
            raise Failure(
                FAILED, f"{self.endpoint} answered {response.status_code} and no JSON; is it a collector?"
            ) from None
        if not response.is_success:
            # A catalog that cannot be used is no wrong use of the command.
            code = (
                FAILED
                if answer.get("code") == "INVALID_CATALOG"
                else _EXITS.get(response.status_code, FAILED)
            )
            # OAuth has errors of its own shape.
            said = answer.get("detail") or answer.get("error_description") or response.reason_phrase
            raise Failure(code, str(said))
        return answer


def segment(text: str) -> str:
    """A name as one segment of a path, whatever it is: none leads up, down or into the query."""
    return quote(text, safe="").replace(".", "%2E")


def _host_of(endpoint: str) -> str | None:
    try:
        parts = urlsplit(endpoint)
        return parts.hostname if parts.port != 0 else None
    except ValueError:  # of an address in brackets, or of the port
        return None


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--endpoint` and `--api-key`, and a `client` as its first argument."""

    @click.option(
        "--endpoint",
        envvar="AFORO_ENDPOINT",
        default=ENDPOINT_DEFAULT,
        show_default=True,
        help="Where the collector is. [AFORO_ENDPOINT]",
    )
    @click.option("--api-key", envvar="AFORO_API_KEY", help="API key of the tenant. [AFORO_API_KEY]")
    @functools.wraps(command)
    def with_client(endpoint: str, api_key: str | None, **rest: Any) -> Any:
        with Client(endpoint, api_key) as client:
            return command(client, **rest)

    return with_client
