"""Segments to requests: batches in order, a refused batch halved until the span that spoils it stands alone.

Used by the sender (its own segments and orphans) and by `aforo spool send`.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from aforo_sdk import segments, wire
from aforo_sdk.notices import count, warn_once
from aforo_sdk.segments import Reader
from aforo_sdk.transport import Answer, Transport, Verdict, request_body

POISON_FOLDER: Final = "poison"
_REASON_TAG: Final = b"\x72"  # field 14, length-delimited: unknown to OTLP, like the resource in field 15


class Delivery:
    """Sends what stands in segments through a transport.

    `failure` is the answer that stopped the last `send`, None when it got to the end. `set_aside` counts
    spans that the collector refuses for good; they are kept below the folder in `poison/`, each as a segment
    of its own.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.failure: Answer | None = None
        self.set_aside = 0
        self.accepted = 0

    def send(self, reader: Reader, start: int, stop: int, advanced: Callable[[int], None]) -> bool:
        """Send the records between two offsets; `advanced` hears of each offset up to which all is settled.

        True when `stop` was reached. What is settled is acknowledged by the collector or set aside on disk.
        """
        self.failure = None
        while start < stop and self.failure is None:
            batch = reader.batch(start, stop)
            if batch.ends:
                settled, self.failure = self._settle(reader, batch)
                start += settled
            else:
                self.failure = self._keep_rest(reader, start, stop)
                settled = start = stop if self.failure is None else start
            if settled:
                advanced(start)
        return self.failure is None

    def _settle(self, reader: Reader, batch: segments.Batch) -> tuple[int, Answer | None]:
        """Send one batch, halving what is refused: how many leading bytes are settled, what stopped it."""
        bounds = [0, *batch.ends]
        parts = [(0, len(batch.ends))]
        settled, probed = 0, False
        while parts:
            first, last = parts.pop()
            records = batch.data[bounds[first] : bounds[last]]
            answer = self.transport.post(request_body(reader.resource, reader.scope, records))
            if answer.verdict is Verdict.ACCEPTED:
                self._note_accepted(answer, last - first)
            elif answer.verdict is not Verdict.REJECTED:
                return settled, answer
            elif last - first > 1:
                middle = (first + last) // 2
                parts += [(middle, last), (first, middle)]
                continue
            else:
                probed = probed or self._takes_anything()
                if not probed or not self._keep_poison(reader, records, answer.reason):
                    return settled, Answer(Verdict.MISDIRECTED, answer.reason)
            settled = bounds[last]
        return settled, None

    def _takes_anything(self) -> bool:
        """Whether the other side takes an empty request.

        One that refuses even that is no collector, or not ours: then nothing may be called poison.
        """
        return self.transport.post(b"").verdict is Verdict.ACCEPTED

    def _note_accepted(self, answer: Answer, spans: int) -> None:
        self.accepted += spans
        if answer.rejected_spans > 0:
            count("spans_quarantined", answer.rejected_spans)
            warn_once(
                "quarantine",
                f"aforo: the collector put {answer.rejected_spans} span(s) in quarantine ({answer.reason}). "
                "They are kept there and not billed; see `aforo intake quarantine`.",
            )

    def _keep_poison(self, reader: Reader, record: bytes, reason: str) -> bool:
        """Put one refused span aside. False when that failed: then it stays where it is."""
        folder = reader.path.parent
        target = folder if folder.name == POISON_FOLDER else folder / POISON_FOLDER
        segment = segments.parse(reader.path)
        name = segments.writer_name(*_start_and_id(record), segment.fingerprint if segment else "0" * 12)
        content = (
            segments.head(reader.resource, reader.scope)
            + wire.sized(_REASON_TAG, reason.encode("utf-8", "replace"))
            + record
        )
        if not _write_whole(target / f"{name}.000000{segments.SUFFIX}", content):
            return False
        self.set_aside += 1
        count("spans_set_aside")
        warn_once(
            "poison",
            f"aforo: the collector refuses a span for good ({reason}). It is not billed but kept in "
            f"{target}, the rest goes on; see `aforo doctor`, and `aforo spool send` to try it again.",
        )
        return True

    def _keep_rest(self, reader: Reader, start: int, stop: int) -> Answer | None:
        """Deal with bytes that are no whole record; what stopped that, if anything.

        A torn tail is ignored: its callback never returned. Anything else is set aside as it is.
        """
        rest = reader.rest(start, stop)
        if rest[:1] == b"\x12" and len(rest) < segments.REQUEST_SIZE_BYTES_MAX:
            count("torn_records")
            return None
        target = reader.path.parent / POISON_FOLDER / f"{reader.path.name}.{start}.rest"
        if not _write_whole(target, rest):
            return Answer(Verdict.BUSY, f"{target} could not be written")
        count("bytes_set_aside", len(rest))
        warn_once(
            "damaged segment",
            f"aforo: {reader.path} is damaged from byte {start} on. What stood before is delivered, the "
            f"rest is kept in {target}.",
        )
        return None


def poison_reason(path: Path) -> str:
    """Why the span in a segment of the poison folder was refused; empty when the file does not say."""
    with suppress(OSError, ValueError):
        for number, _, value in wire.fields(path.read_bytes()):
            if number == 14 and isinstance(value, bytes):
                return value.decode("utf-8", "replace")
    return ""


def _start_and_id(record: bytes) -> tuple[int, int, int]:
    """(start in nanoseconds, 0, span id) of a record: the same span always gets the same name. Zeros where
    unreadable.
    """
    start_ns, span_id = 0, 0
    with suppress(ValueError):
        for _, _, span in wire.fields(record):
            for number, wire_type, value in wire.fields(span if isinstance(span, bytes) else b""):
                if number == 2 and isinstance(value, bytes):
                    span_id = int.from_bytes(value[:8], "big")
                elif number == 7 and wire_type == 1 and isinstance(value, bytes):
                    start_ns = int.from_bytes(value, "little")
    return start_ns, 0, span_id


def _write_whole(path: Path, content: bytes) -> bool:
    """Write a file so that it is there whole or not at all, on the disk when this returns."""
    unfinished = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
    except OSError as error:
        warn_once(
            "poison folder", f"aforo: {path} could not be written ({error}); its spans stay in the spool."
        )
        return False
    return True
