"""A finished span survives whatever happens to the process that finished it."""

import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aforo_sdk
import pytest
from aforo_sdk import notices, plugin, segments

from tests.sdk.processes import environment, run, start
from tests.sdk.sink import Reply, Sink

KILLS = 24
NOWHERE = "http://127.0.0.1:9"

ENDLESS = """
import itertools
for number in itertools.count():
    name = f"{os.environ['LIFE']}-{number}"
    write(name)
    sys.stdout.write(name + "\\n")
    sys.stdout.flush()
    if number % 7 == 0:
        time.sleep(0.001)
"""


def test_kill_at_random_moments_loses_nothing(sink: Sink, spool: Path) -> None:
    """Every span whose callback returned before a SIGKILL is delivered by a later process."""
    moments = random.Random(20261121)
    reported: set[str] = set()
    sink.answer = lambda _: Reply(503 if moments.random() < 0.3 else 200)
    for life in range(KILLS):
        with start(ENDLESS, environment(spool, sink.url, LIFE=str(life))) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(moments.random() * 0.15)
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read()
        reported |= {name for name in (first + rest).split("\n")[:-1] if name}
    assert len(reported) > KILLS
    sink.answer = lambda _: Reply()
    run("write('the last'); print(aforo_sdk.flush(30.0)); time.sleep(0.1)", environment(spool, sink.url))
    assert sink.wait_for(reported | {"the last"})
    # A child may have written one more than it could report; nobody invents any.
    assert len(set(sink.names) - reported) <= KILLS + 1


def test_a_dead_process_leaves_its_spans_to_the_next(sink: Sink, spool: Path) -> None:
    """What a killed process could not deliver goes out with a later process, and then the folder is empty."""
    env = environment(spool, sink.url, AFORO_API_KEY="k")
    sink.answer = lambda _: Reply(503)
    with start("write('killed'); print('done', flush=True); time.sleep(60)", env) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        child.kill()
    sink.answer = lambda _: Reply()
    run("write('later')", env)
    assert set(sink.names) == {"killed", "later"}
    assert segments.listing(spool) == {}


def test_another_key_never_pays(sink: Sink, spool: Path) -> None:
    """Segments written under one key are not delivered under another."""
    run("write('of one')", environment(spool, NOWHERE, AFORO_API_KEY="one"))
    run("write('of two'); aforo_sdk.flush()", environment(spool, sink.url, AFORO_API_KEY="two"))
    assert sink.names == ["of two"]
    (kept,) = [path for found in segments.listing(spool).values() for path in found]
    with segments.Reader(kept.path) as reader:
        assert reader.count() == 1


def test_fork_children_keep_their_own_books(sink: Sink, spool: Path) -> None:
    """Parent and forked children write to segments of their own; all of it arrives, once, under distinct
    ids.
    """
    program = """
import random
for number in range(50):
    write(f"before-{number}")
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        random.seed(0)
        for number in range(50):
            write(f"child-{child}-{number}")
        delivered = aforo_sdk.flush(20.0)
        os._exit(0 if delivered else 1)
    children.append(pid)
for number in range(50):
    write(f"after-{number}")
assert aforo_sdk.flush(20.0)
assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
"""
    run(program, environment(spool, sink.url))
    expected = {f"{when}-{number}" for when in ("before", "after") for number in range(50)}
    expected |= {f"child-{child}-{number}" for child in range(4) for number in range(50)}
    assert sorted(sink.names) == sorted(expected)
    assert len({(span.trace_id, span.span_id) for span in sink.spans}) == len(expected)


def test_a_fork_without_exec_does_not_hold_the_parents_lock(sink: Sink, spool: Path) -> None:
    """When the parent dies, a child of its fork that lives on does not keep its spans from being adopted."""
    program = """
write("parent")
pid = os.fork()
if pid == 0:
    time.sleep(30)
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    sink.answer = lambda _: Reply(503)
    with start(program, environment(spool, sink.url)) as child:
        assert child.stdout is not None
        orphan = int(child.stdout.readline())
        child.wait()
        try:
            sink.answer = lambda _: Reply()
            run("write('later'); aforo_sdk.flush(10.0)", environment(spool, sink.url))
            assert set(sink.names) == {"parent", "later"}
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_many_processes_share_a_folder(sink: Sink, spool: Path) -> None:
    """Eight processes that write at once into one folder lose and disturb nothing."""
    program = "for n in range(300): write(f\"{os.environ['LIFE']}-{n}\")\nprint(aforo_sdk.flush(20.0))"
    children = [start(program, environment(spool, sink.url, LIFE=str(life))) for life in range(8)]
    for child in children:
        with child:
            out, err = child.communicate(timeout=60)
            assert (out, err) == ("True\n", "")
    assert sorted(sink.names) == sorted(f"{life}-{number}" for life in range(8) for number in range(300))
    assert segments.listing(spool) == {}


def test_a_torn_tail_costs_only_itself(sink: Sink, spool: Path) -> None:
    """A record that a crash cut short is ignored; all before it is delivered and the segment goes away."""
    env = environment(spool, sink.url)
    sink.answer = lambda _: Reply(503)
    run("for n in range(5): write(f'whole-{n}')", env)
    (segment,) = [path for found in segments.listing(spool).values() for path in found]
    with segment.path.open("ab") as file:
        file.write(b"\x12\x7fonly the beginning")
    sink.answer = lambda _: Reply()
    run("write('next'); aforo_sdk.flush(10.0)", env)
    assert set(sink.names) == {"next"} | {f"whole-{n}" for n in range(5)}
    assert segments.listing(spool) == {}


@pytest.mark.parametrize("damage", [b"\0" * 300, b"\xff\x00garbage" * 20])
def test_damage_in_the_middle_is_set_aside(sink: Sink, spool: Path, damage: bytes) -> None:
    """Bytes that nobody wrote end a segment: what stands before is delivered, the rest is kept and
    reported.
    """
    env = environment(spool, sink.url)
    sink.answer = lambda _: Reply(503)
    run("for n in range(5): write(f'whole-{n}')", env)
    (segment,) = [path for found in segments.listing(spool).values() for path in found]
    with segment.path.open("ab") as file:
        file.write(damage)
    sink.answer = lambda _: Reply()
    run("write('next'); aforo_sdk.flush(10.0)", env)
    assert set(sink.names) == {"next"} | {f"whole-{n}" for n in range(5)}
    (kept,) = (spool / "poison").glob("*.rest")
    assert kept.read_bytes() == damage
    counted = [json.loads(path.read_text()) for path in (spool / "counts").glob("*.json")]
    assert any(counters.get("bytes_set_aside") == len(damage) for counters in counted)


def test_a_segment_is_a_scope_spans_message(spool: Path) -> None:
    """A segment file decodes with the official schema: scope first, then the spans."""
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

    run("write('a'); write('b')", environment(spool, NOWHERE, OTEL_SERVICE_NAME="shop"))
    (segment,) = [path for found in segments.listing(spool).values() for path in found]
    message = ScopeSpans.FromString(segment.path.read_bytes())
    assert message.scope.name == "aforo"
    assert [span.name for span in message.spans] == ["a", "b"]
    with segments.Reader(segment.path) as reader:
        resource = {
            pair.key: pair.value.string_value for pair in Resource.FromString(reader.resource).attributes
        }
    assert resource["service.name"] == "shop"
    assert resource["telemetry.sdk.language"] == "python"


def test_threads_write_while_the_sender_empties(
    sink: Sink, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing, rotating, acknowledging and emptying at once, with failures in between, loses nothing."""
    monkeypatch.setattr("aforo_sdk.spool.SEGMENT_SIZE_BYTES_MAX", 16_384)
    monkeypatch.setattr("aforo_sdk.sender.LINGER_S", 0.002)
    monkeypatch.setattr("aforo_sdk.sender.BACKOFF_FIRST_S", 0.002)
    dice = random.Random(7)
    sink.answer = lambda _: Reply(503 if dice.random() < 0.2 else 200)
    aforo_sdk.init(endpoint=sink.url, spool_dir=spool)

    def write(thread: int) -> None:
        for number in range(1000):
            plugin.emit(plugin.new_trace_id(), plugin.new_span_id(), 0, f"{thread}-{number}", 1, 0, 0, b"")
            if number % 50 == 0:
                time.sleep(0.002)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    sink.answer = lambda _: Reply()
    assert aforo_sdk.flush(30.0)
    expected = [f"{thread}-{number}" for thread in range(6) for number in range(1000)]
    assert set(sink.names) == set(expected)
    for thread in range(6):
        first_seen = list(dict.fromkeys(name for name in sink.names if name.startswith(f"{thread}-")))
        assert first_seen == [f"{thread}-{number}" for number in range(1000)]
    assert notices.counters() == {}


def test_signals_and_the_collector_of_garbage_may_interrupt_a_write(sink: Sink, spool: Path) -> None:
    """Spans that end in a signal handler or a finalizer, in the middle of another one's write, are kept."""
    program = """
import gc, itertools
signals, garbage = itertools.count(), itertools.count()
def handler(*_):
    write(f"signal-{next(signals)}")
class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        write(f"garbage-{next(garbage)}")
gc.set_threshold(50)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
for number in range(5000):
    Cycle()
    write(f"main-{number}")
signal.setitimer(signal.ITIMER_REAL, 0)
gc.collect()
print(aforo_sdk.flush(20.0), next(signals), next(garbage))
"""
    out, err = run(program, environment(spool, sink.url))
    delivered, signals, garbage = out.split()
    assert (delivered, err) == ("True", "")
    assert int(signals) > 10
    expected = {f"main-{n}" for n in range(5000)} | {f"signal-{n}" for n in range(int(signals))}
    assert set(sink.names) == expected | {f"garbage-{n}" for n in range(int(garbage))}
