"""A small real server with OpenAI's API: it answers from a script and keeps count of what it served.

    with fake_openai([Reply(tool_calls=[("", "lookup", {"city": "Oslo"})]), Reply("done")]) as server:
        client = OpenAI(base_url=server.url, api_key="none", max_retries=0)
        ...
    assert sum(call.prompt_tokens for call in server.served) == 200

It speaks `/v1/chat/completions` and `/v1/responses`, as JSON and as server-sent events, and `/v1/embeddings`.
As with OpenAI itself, a streamed chat carries its usage only if `stream_options.include_usage` asked for it.
"""

import base64
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from socketserver import TCPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as OpenAI reports them: the prompt includes what was cached, the completion the reasoning."""

    prompt_tokens: int = 100
    completion_tokens: int = 20
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the script.

    `tool_calls` are (id, name, arguments) and an empty id gets a fresh one; `usage` None is a server that
    reports none; a `status` other than 200 is an error without usage; `delay_s` passes before the first byte;
    `break_after` is the number of events of a stream after which the connection is cut. A `model` names
    another model in the answer than was asked for.
    """

    content: str = "done"
    tool_calls: Sequence[tuple[str, str, Mapping[str, Any]]] = ()
    usage: Usage | None = Usage()
    status: int = 200
    delay_s: float = 0.0
    break_after: int | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """One request and what it was given. The counts are what the server spent, told to the client or not.

    `usage_sent` is whether the client was told; `tool_call_ids` are the ids of the calls that were asked for;
    `path` is the endpoint without its prefix: `chat/completions`, `responses` or `embeddings`.
    """

    path: str
    model: str
    stream: bool
    response_id: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    tool_call_ids: tuple[str, ...]
    usage_sent: bool
    status: int
    request: Json = field(repr=False, hash=False)


Script = Sequence[Reply] | Callable[[Json], Reply]


class FakeOpenAI:
    """Listens on a free loopback port until `close`.

    A `script` is a list, of which each request takes the next reply (one request too many is answered with
    status 400), or a function of the request's JSON, which may be called from several threads at once.
    Without one, every request is answered with text and the usage 100/20. Requests are `served` before the
    last byte of their answer is sent.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.served: list[Served] = []
        self._script = script
        self._taken = count()
        self._made = count(1)
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def answered(self) -> list[Served]:
        """The requests that were answered with status 200, in order."""
        return [call for call in list(self.served) if call.status == 200]

    def reply_to(self, request: Json) -> Reply:
        """The script's reply to a request."""
        if self._script is None:
            return Reply()
        if callable(self._script):
            return self._script(request)
        place = next(self._taken)
        if place < len(self._script):
            return self._script[place]
        return Reply(f"the script ends after {len(self._script)} replies", status=400)

    def new_id(self, prefix: str) -> str:
        """An id that no other answer of this server carries."""
        return f"{prefix}{self._server.server_port}{next(self._made):06d}"


@contextmanager
def fake_openai(script: Script | None = None) -> Iterator[FakeOpenAI]:
    """A server for the length of a `with` block; its `url` ends in `/v1`."""
    server = FakeOpenAI(script)
    try:
        yield server
    finally:
        server.close()


class _Cut(Exception):
    """The script cuts the connection here."""


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0].removeprefix("/v1/")
        if path not in _ANSWERS:
            self._send_json(404, _error(404, f"there is no {path} here"))
            return
        reply = self.server.fake.reply_to(request)
        reply = Reply(**{**_fields(reply), "tool_calls": _numbered(self.server.fake, reply)})
        time.sleep(reply.delay_s)
        self._answer(path, request, reply)

    def _answer(self, path: str, request: Json, reply: Reply) -> None:
        streams = bool(request.get("stream")) and path != "embeddings"
        response_id = self.server.fake.new_id("resp_" if path == "responses" else "chatcmpl-")
        model = reply.model or str(request.get("model", ""))
        failed = reply.status != 200
        told = reply.usage is not None and not failed and reply.break_after is None
        if streams and path == "chat/completions":
            told = told and bool((request.get("stream_options") or {}).get("include_usage"))
        spent = Usage(0, 0) if failed or reply.usage is None else reply.usage
        output = 0 if path == "embeddings" else spent.completion_tokens
        asked = () if failed else tuple(call_id for call_id, _, _ in reply.tool_calls)
        self.server.fake.served.append(
            Served(
                path, model, streams, "" if failed else response_id, spent.prompt_tokens, output,
                spent.cached_tokens, spent.reasoning_tokens, asked, told, reply.status, request,
            )
        )  # fmt: skip
        if failed:
            self._send_json(reply.status, _error(reply.status, reply.content))
        elif streams:
            self._send_events(_EVENTS[path](response_id, model, reply, told), reply.break_after)
        else:
            self._send_json(200, _ANSWERS[path](response_id, model, reply, request))

    def _send_json(self, status: int, content: Json) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status in {429, 500, 502, 503}:
            self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def _send_events(self, events: Iterator[Json], break_after: int | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for place, event in enumerate(events):
            if place == break_after:
                self.close_connection = True
                raise _Cut
            named = f"event: {event['type']}\n" if "type" in event else ""
            self._send_chunk(f"{named}data: {json.dumps(event)}\n\n")
        self._send_chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send_chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fake: FakeOpenAI) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Bind without asking who this machine is: the look-up is slow, and not safe beside threads."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # A client that goes away breaks its connection: some tests are about that.


def _fields(reply: Reply) -> Json:
    return {name: getattr(reply, name) for name in Reply.__slots__}


def _numbered(fake: FakeOpenAI, reply: Reply) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (call_id or fake.new_id("call_"), name, arguments) for call_id, name, arguments in reply.tool_calls
    ]


def _error(status: int, message: str) -> Json:
    kind = {429: "rate_limit_exceeded", 404: "not_found"}.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def _chat_usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


def _responses_usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _chat_calls(reply: Reply) -> list[Json]:
    return [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for call_id, name, arguments in reply.tool_calls
    ]


def _chat(response_id: str, model: str, reply: Reply, request: Json) -> Json:
    calls = _chat_calls(reply)
    message: Json = {"role": "assistant", "content": None if calls else reply.content, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    answer: Json = {
        "id": response_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "tool_calls" if calls else "stop",
            }
        ],
    }
    if reply.usage is not None:
        answer["usage"] = _chat_usage(reply.usage)
    return answer


def _chat_events(response_id: str, model: str, reply: Reply, told: bool) -> Iterator[Json]:
    frame = {
        "id": response_id, "object": "chat.completion.chunk", "created": int(time.time()), "model": model,
    }  # fmt: skip

    def delta(content: Json, finish_reason: str | None = None) -> Json:
        return {**frame, "choices": [{"index": 0, "delta": content, "finish_reason": finish_reason}]}

    calls = _chat_calls(reply)
    yield delta({"role": "assistant", "content": None if calls else ""})
    for index, call in enumerate(calls):
        yield delta({"tool_calls": [{"index": index, **call}]})
    if not calls:
        for word in reply.content.split(" "):
            yield delta({"content": word})
    yield delta({}, "tool_calls" if calls else "stop")
    if told and reply.usage is not None:
        yield {**frame, "choices": [], "usage": _chat_usage(reply.usage)}


def _response(response_id: str, model: str, reply: Reply, request: Json) -> Json:
    output: list[Json] = [
        {
            "type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name,
            "arguments": json.dumps(arguments), "status": "completed",
        }
        for call_id, name, arguments in reply.tool_calls
    ] or [
        {
            "type": "message", "id": f"msg_{response_id}", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": reply.content, "annotations": []}],
        }
    ]  # fmt: skip
    return {
        "id": response_id, "object": "response", "created_at": int(time.time()), "status": "completed",
        "model": model, "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "usage": None if reply.usage is None else _responses_usage(reply.usage),
    }  # fmt: skip


def _response_events(response_id: str, model: str, reply: Reply, told: bool) -> Iterator[Json]:
    whole = _response(response_id, model, reply, {})
    numbers = count()

    def event(kind: str, **content: Any) -> Json:
        return {"type": f"response.{kind}", "sequence_number": next(numbers), **content}

    yield event("created", response={**whole, "status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(whole["output"]):
        yield event("output_item.added", output_index=index, item={**item, "status": "in_progress"})
        if item["type"] == "message":
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            yield event("output_text.delta", **place, delta=reply.content, logprobs=[])
            yield event("output_text.done", **place, text=reply.content, logprobs=[])
        yield event("output_item.done", output_index=index, item=item)
    yield event("completed", response=whole)


def _embeddings(response_id: str, model: str, reply: Reply, request: Json) -> Json:
    given = request.get("input", "")
    texts = given if isinstance(given, list) else [given]
    vector: Any = [0.5, -0.5, 0.25, 0.125]
    if request.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<4f", *vector)).decode()
    spent = reply.usage or Usage(0, 0)
    return {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(texts)
        ],
        "usage": {"prompt_tokens": spent.prompt_tokens, "total_tokens": spent.prompt_tokens},
    }


_ANSWERS: dict[str, Callable[[str, str, Reply, Json], Json]] = {
    "chat/completions": _chat,
    "responses": _response,
    "embeddings": _embeddings,
}
_EVENTS: dict[str, Callable[[str, str, Reply, bool], Iterator[Json]]] = {
    "chat/completions": _chat_events,
    "responses": _response_events,
}
