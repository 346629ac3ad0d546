"""The proxy of a server that speaks over stdio: two pumps around a child process.

What comes in at our stdin goes to the child's, what comes out of the child goes to our stdout, byte by byte
and as soon as it is there; stderr is the child's own. Each pump reads only as fast as its other side takes,
so that back-pressure reaches whoever writes too much.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Final

import aforo_sdk
from aforo_sdk import plugin

from aforo_mcp import calls
from aforo_mcp.jsonrpc import Lines
from aforo_mcp.proxy_calls import CONNECTION_LOST, Connection, Parked, guarded

READ_SIZE_BYTES: Final = 65_536
DRAIN_S: Final = 1.0
FLUSH_S: Final = 1.0
NOT_STARTED: Final = 127
"""What shells answer for a command that cannot be started."""

_STDIN, _STDOUT = 0, 1
_PASSED_ON: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class _Pump(threading.Thread):
    """Copies one direction until either side is gone, and shows every chunk to `tap` before it is passed on."""

    def __init__(self, source: int, sink: int, tap: Callable[[bytes], None]) -> None:
        super().__init__(daemon=True)
        self._source, self._sink, self._tap = source, sink, tap
        self.at_end = False
        """Whether the source said that nothing more comes."""
        self.moved = 0
        """Reads and writes that were begun; odd while it waits for something to read."""

    def run(self) -> None:
        try:
            while chunk := self._read():
                self._tap(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(self._sink, rest) :]
            self._tap(b"\n")  # whoever reads on takes what the end cuts off for a line
            self.at_end = True
        except OSError:
            pass  # whoever read this is gone; its writer learns it from the closed source
        finally:
            _leave(self._sink)
            _leave(self._source)

    def _read(self) -> bytes:
        self.moved += 1
        chunk = os.read(self._source, READ_SIZE_BYTES)
        self.moved += 1
        return chunk


def run(
    command: Sequence[str], environment: Mapping[str, str], connection: Connection, parked: Parked
) -> int:
    """Run a server until it ends and meter its calls; returns its exit code.

    A server that a signal ended takes the proxy with it, by the same signal. 127: it could not be started.
    """
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
        )
    except (OSError, ValueError) as error:
        sys.stderr.write(f"aforo mcp-proxy: {command[0]} cannot be started: {error}. Nothing ran.\n")
        return NOT_STARTED
    assert child.stdin is not None
    assert child.stdout is not None
    stopped = _pass_signals_on(child)
    for standard in (_STDIN, _STDOUT):
        os.set_blocking(standard, True)
    up = _Pump(_STDIN, os.dup(child.stdin.fileno()), _requests(connection))
    down = _Pump(os.dup(child.stdout.fileno()), _STDOUT, _replies(connection))
    child.stdin.close()
    child.stdout.close()
    up.start()
    down.start()
    code = child.wait()
    _drain(down)
    connection.close(calls.WAS_CANCELLED if up.at_end or stopped else CONNECTION_LOST)
    parked.close()
    connection.end_session()
    if code < 0:
        _die_of(-code)
    return code


def _requests(connection: Connection) -> Callable[[bytes], None]:
    lines = Lines(lambda: True)

    @guarded
    def tap(chunk: bytes) -> None:
        for line in lines.feed(chunk):
            connection.request(line)

    return tap


def _replies(connection: Connection) -> Callable[[bytes], None]:
    # A line that began before a call was asked for cannot be its answer.
    lines = Lines(lambda: connection.waits)

    @guarded
    def tap(chunk: bytes) -> None:
        for line in lines.feed(chunk):
            connection.reply(line)

    return tap


def _leave(descriptor: int) -> None:
    """Close our end of a pipe. Standard ones stay occupied, or the next file to be opened would take their
    place.
    """
    try:
        if descriptor in (_STDIN, _STDOUT):
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor)
            os.close(nothing)
        else:
            os.close(descriptor)
    except OSError:
        plugin.count("mcp_proxy_failed")


def _drain(down: _Pump) -> None:
    """Pass on what the child left in its pipe, however slowly the client reads; a grandchild that holds the
    pipe open without a word is not waited for.
    """
    while down.is_alive():
        before = down.moved
        down.join(DRAIN_S)
        if down.moved == before and before % 2:
            return


def _pass_signals_on(child: "subprocess.Popen[bytes]") -> list[int]:
    """Hand signals to the child from now on; the list says which ones came to end it."""
    came: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if number not in (signal.SIGUSR1, signal.SIGUSR2):
            came.append(number)
        child.send_signal(number)

    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    return came


def _die_of(number: int) -> None:
    """End as the child ended. At exit by a signal nothing is delivered any more, so that is done before."""
    aforo_sdk.flush(FLUSH_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        signal.signal(number, signal.SIG_DFL)
    except OSError:
        pass  # SIGKILL and SIGSTOP have no handlers
    os.kill(os.getpid(), number)
