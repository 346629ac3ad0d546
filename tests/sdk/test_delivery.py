"""What the sender does with each answer of a collector, and what it costs the program: nothing but bounded
waits.
"""

import logging
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import aforo_sdk
import pytest
from aforo_sdk import contents, conventions, notices, plugin, runtime, segments, transport
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from tests.sdk.processes import environment, run
from tests.sdk.sink import Reply, Sink, spans_of

BUSY_S = 0.3
"""Until a busy machine lets a thread go on whose wait is over."""


def write(name: str, size: int = 0) -> None:
    """Put one span into the spool."""
    now_ns = time.time_ns()
    attributes = plugin.current_identity().attributes + plugin.text_once("filler", "x" * size)
    plugin.emit(
        plugin.new_trace_id(),
        plugin.new_span_id(),
        0,
        name,
        conventions.KIND_INTERNAL,
        now_ns,
        now_ns,
        attributes,
    )


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The address of something that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_flush_delivers_and_empties_the_spool(metered: Sink, spool: Path) -> None:
    """`flush` is True once all is acknowledged, and an acknowledged span is not kept."""
    for number in range(20):
        write(f"span-{number}")
    assert aforo_sdk.flush(10.0)
    assert metered.names == [f"span-{number}" for number in range(20)]
    assert sum(row.spans for row in contents.rows(spool)) == 0


def test_flush_is_bounded_against_a_black_hole(black_hole: str, spool: Path) -> None:
    """`flush(2.0)` against something that never answers is False within 2.2 s, and the span stays."""
    aforo_sdk.init(endpoint=black_hole, spool_dir=spool)
    write("kept")
    started = time.monotonic()
    assert aforo_sdk.flush(2.0) is False
    assert time.monotonic() - started <= 2.2
    assert sum(row.spans for row in contents.rows(spool)) == 1


def test_flush_is_bounded_against_a_refused_port(spool: Path) -> None:
    """`flush(2.0)` against a closed port is False within 2.2 s."""
    aforo_sdk.init(endpoint="http://127.0.0.1:9", spool_dir=spool)
    write("kept")
    started = time.monotonic()
    assert aforo_sdk.flush(2.0) is False
    assert time.monotonic() - started <= 2.2


def test_a_call_is_not_blocked_by_a_dead_collector(black_hole: str, spool: Path) -> None:
    """While the sender hangs in a request, spans are written: none of them waits for what becomes of it."""
    aforo_sdk.init(endpoint=black_hole, spool_dir=spool)
    write("first")
    aforo_sdk.flush(0.6)
    sender = runtime._sender
    assert sender is not None
    before = sender.failures
    for number in range(2000):
        write(f"span-{number}")
        assert sender.failures == before, "the request has ended meanwhile: somebody waited for it"
    assert sum(row.spans for row in contents.rows(spool)) == 2001


@pytest.mark.parametrize("hole", [True, False])
def test_exit_is_delayed_by_at_most_two_seconds(black_hole: str, spool: Path, hole: bool) -> None:
    """With a collector that is dead or deaf, what we do at the interpreter's end takes 2 s, and the spans stay."""
    program = """
import atexit
from aforo_sdk import runtime
atexit.unregister(runtime._at_exit)
atexit.register(lambda: print(time.monotonic(), flush=True))  # runs behind what is registered after it
atexit.register(runtime._at_exit)
write("kept")
print(time.monotonic(), flush=True)
"""
    out, err = run(program, environment(spool, black_hole if hole else "http://127.0.0.1:9"))
    ended, over = map(float, out.split())
    assert over - ended <= 2.0 + BUSY_S
    assert err == ""
    assert sum(row.spans for row in contents.rows(spool)) == 1


def test_exit_delivers_what_waits(sink: Sink, spool: Path) -> None:
    """A short program that neither flushes nor waits is delivered while it ends, and leaves no file."""
    run("write('short')", environment(spool, sink.url))
    assert sink.names == ["short"]
    assert segments.listing(spool) == {}


def test_delivery_resumes_by_itself(metered: Sink) -> None:
    """After an outage everything arrives without any call of the program, in the order it was written."""
    metered.answer = lambda _: Reply(503)
    for number in range(5):
        write(f"span-{number}")
    assert aforo_sdk.flush(0.5) is False
    metered.answer = lambda _: Reply()
    assert metered.wait_for({f"span-{number}" for number in range(5)})
    assert metered.names == [f"span-{number}" for number in range(5)]


def test_poison_costs_only_itself(metered: Sink, spool: Path) -> None:
    """A batch that is refused is halved until the span that spoils it stands alone; that one is kept and
    reported.
    """
    metered.answer = lambda request: Reply(
        400 if any("poison" in span.name for span in spans_of(request)) else 200
    )
    names = [f"span-{number}" for number in range(100)]
    for name in [*names[:37], "poison", *names[37:]]:
        write(name)
    assert aforo_sdk.flush(10.0) is False
    assert metered.names == names
    (aside,) = contents.poison(spool)
    assert "HTTP 400" in aside.reason
    assert notices.counters()["spans_set_aside"] == 1
    assert aforo_sdk.flush(10.0) is True
    metered.answer = lambda _: Reply()
    run(
        "from aforo_sdk.spool_command import main\nsys.exit(main(['send', os.environ['ASIDE']]))",
        environment(spool, metered.url, ASIDE=str(spool / "poison")),
    )
    assert "poison" in metered.names
    assert contents.poison(spool) == []


def test_a_server_that_refuses_everything_makes_no_poison(metered: Sink, spool: Path) -> None:
    """Something that answers 400 even to an empty request is no collector: nothing is set aside, all is
    kept.
    """
    metered.answer = lambda _: Reply(400)
    write("kept")
    assert aforo_sdk.flush(0.7) is False
    assert contents.poison(spool) == []
    metered.answer = lambda _: Reply()
    assert aforo_sdk.flush(10.0)
    assert metered.names == ["kept"]


def test_retry_after_is_honoured(metered: Sink) -> None:
    """After a 429 with `Retry-After: 1` the next attempt comes no sooner than a second later."""
    metered.answer = lambda _: Reply(429, {"Retry-After": "1"}) if len(metered.requests) == 0 else Reply()
    write("patient")
    assert metered.wait_for({"patient"})
    first, second = metered.requests[:2]
    assert second.at - first.at >= 1.0


@pytest.mark.parametrize("value", ["7", "date", "soon", None, "nan", "-3", "1e9"])
def test_retry_after_is_seconds_or_a_date(value: str | None) -> None:
    """Both forms of `Retry-After` are understood, nonsense is ignored, and nobody can send us to sleep for
    ever.
    """
    now_s = 1_800_000_000.0
    if value == "date":
        value = format_datetime(datetime.fromtimestamp(now_s, UTC) + timedelta(seconds=9), usegmt=True)
    expected = {"7": 7.0, "soon": None, None: None, "nan": 0.0, "-3": 0.0, "1e9": 3600.0}
    assert transport._retry_after_s(value, now_s) == expected.get(value, 9.0)


def test_a_wrong_key_keeps_the_spans(metered: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """With 401 nothing is lost: one warning, and when the key is accepted the spans arrive."""
    metered.answer = lambda _: Reply(401)
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        write("kept")
        assert aforo_sdk.flush(0.5) is False
        assert aforo_sdk.flush(0.5) is False
    assert len([record for record in caplog.records if "API key" in record.message]) == 1
    metered.answer = lambda _: Reply()
    assert aforo_sdk.flush(10.0)
    assert metered.names == ["kept"]


def test_partial_success_is_acknowledged_and_counted(metered: Sink) -> None:
    """Spans that the collector puts in quarantine are its own from then on: delivered, counted, not sent
    again.
    """
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="no customer")
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    metered.answer = lambda _: Reply(body=body)
    write("strange")
    assert aforo_sdk.flush(10.0)
    assert notices.counters() == {"spans_quarantined": 1}


def test_requests_are_bounded_and_share_a_connection(metered: Sink) -> None:
    """A backlog travels in requests of at most 512 spans and 1 MiB over one connection, with the key on
    each.
    """
    metered.answer = lambda _: Reply(503)
    for number in range(1500):
        write(f"span-{number}")
    for number in range(5):
        write(f"big-{number}", 300_000)
    metered.answer = lambda _: Reply()
    connections = metered.connections
    assert aforo_sdk.flush(20.0)
    assert metered.names == [f"span-{n}" for n in range(1500)] + [f"big-{n}" for n in range(5)]
    for got in metered.requests:
        assert len(spans_of(got.content)) <= 512
        assert got.content.ByteSize() <= 1 << 20
        assert got.headers["X-API-Key"] == "sk_test"
    assert metered.connections <= connections + 1


def test_a_span_bigger_than_a_request_travels_alone(metered: Sink) -> None:
    """One span over 1 MiB does not hold up the spool."""
    values = {f"filler.{number}": "x" * 65_000 for number in range(40)}
    span = aforo_sdk.tracer_provider().get_tracer("test").start_span("huge", attributes=values)
    write("before")
    span.end()
    write("after")
    assert aforo_sdk.flush(20.0)
    assert metered.names == ["before", "huge", "after"]


def test_compression_only_off_this_machine() -> None:
    """A collector on the loopback interface gets plain bytes, any other one gzip."""
    from aforo_sdk.settings import Destination

    assert Destination("http://localhost:4318/v1/traces").on_loopback
    assert Destination("http://127.0.0.1:4318/v1/traces").on_loopback
    assert Destination("http://[::1]:4318/v1/traces").on_loopback
    assert not Destination("https://collector.example/v1/traces").on_loopback


def test_compressed_requests_decode(sink: Sink) -> None:
    """What is compressed is what the collector decompresses."""
    from aforo_sdk.settings import Destination

    off_machine = transport.Transport(Destination(f"{sink.url}/v1/traces"))
    off_machine._compress = True
    record = b"\x12\x04\x2a\x02hi"
    assert off_machine.post(transport.request_body(b"", b"", record)).verdict is transport.Verdict.ACCEPTED
    off_machine.close()
    assert sink.names == ["hi"]
    assert sink.requests[0].headers["Content-Encoding"] == "gzip"


def test_disk_use_is_bounded(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the bound new spans are refused, counted and warned about once; what is there stays whole."""
    bound = 200_000
    aforo_sdk.init(endpoint="http://127.0.0.1:9", spool_dir=spool, spool_max_bytes=bound)
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        for number in range(1000):
            write(f"span-{number}", 1000)
    kept = sum(row.spans for row in contents.rows(spool))
    assert 150 < kept < 1000
    assert segments.size_bytes(spool) <= bound
    assert notices.counters()["spans_refused"] == 1000 - kept
    assert len([record for record in caplog.records if "refused" in record.message]) == 1


def test_room_that_comes_back_is_used(metered: Sink, spool: Path) -> None:
    """After a full spool is delivered, spans are taken again, and `flush` says once that some were
    refused.
    """
    aforo_sdk.init(spool_max_bytes=100_000)
    metered.answer = lambda _: Reply(503)
    for number in range(200):
        write(f"span-{number}", 1000)
    metered.answer = lambda _: Reply()
    assert aforo_sdk.flush(10.0) is False
    write("again")
    assert aforo_sdk.flush(10.0) is True
    assert "again" in metered.names


def test_an_interrupted_write_leaves_no_half_record(metered: Sink, spool: Path) -> None:
    """When the disk takes only a part of a record, that part is cut off again and the span is refused."""
    program = """
import resource
write("whole")
folder = os.environ["AFORO_SPOOL_DIR"]
size = max(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
write("cut short")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write("whole again")
from aforo_sdk import notices
print(notices.counters()["spans_refused"], aforo_sdk.flush(10.0), aforo_sdk.flush(10.0))
"""
    out, _ = run(program, environment(spool, metered.url))
    assert out == "1 False True\n"
    assert metered.names == ["whole", "whole again"]


def test_an_unwritable_folder_has_a_substitute(
    sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the spool folder cannot be made, spans go to a private temporary folder, with one warning."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("in the way")
    aforo_sdk.init(endpoint=sink.url, spool_dir=tmp_path / "file" / "spool")
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        write("elsewhere")
        assert aforo_sdk.flush(10.0)
    assert sink.names == ["elsewhere"]
    assert len([record for record in caplog.records if "AFORO_SPOOL_DIR" in record.message]) == 1


def test_closed_descriptors_are_survived(metered: Sink) -> None:
    """A program that closes every descriptor it finds goes on being metered."""
    import os

    write("before")
    assert runtime._sender is not None
    os.close(runtime._sender.spool._descriptor)
    write("after")
    assert aforo_sdk.flush(10.0)
    assert set(metered.names) == {"before", "after"}


def test_rotation_keeps_the_order(metered: Sink, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog of many segments is delivered in the order of writing, and every segment goes away."""
    monkeypatch.setattr("aforo_sdk.spool.SEGMENT_SIZE_BYTES_MAX", 4096)
    metered.answer = lambda _: Reply(503)
    names = [f"span-{number}" for number in range(400)]
    for name in names:
        write(name)
    assert len([path for found in segments.listing(spool).values() for path in found]) > 5
    metered.answer = lambda _: Reply()
    assert aforo_sdk.flush(20.0)
    assert metered.names == names
    assert len([path for found in segments.listing(spool).values() for path in found]) == 1


def test_a_changed_collector_gets_what_comes_after(metered: Sink) -> None:
    """After `init` with another endpoint, older spans still go to the old one and `flush` speaks for both."""
    other = Sink()
    write("old")
    aforo_sdk.init(endpoint=other.url)
    write("new")
    assert aforo_sdk.flush(10.0)
    assert (metered.names, other.names) == (["old"], ["new"])
    other.close()


def test_session_end_travels_last(metered: Sink) -> None:
    """The message that closes a session arrives behind every span written before it."""
    with aforo_sdk.session():
        for number in range(30):
            write(f"span-{number}")
    assert aforo_sdk.flush(10.0)
    assert metered.names[-1] == "session_end"
