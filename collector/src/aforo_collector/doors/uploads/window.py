"""The stretch of a stream that is in memory: never more than a row may be long, and what came with it."""

from __future__ import annotations

from collections.abc import Iterator

from .rows import ROW_BYTES_MAX, Place

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Window:
    """Bytes of a stream from `place` on; `blocks` are of any size and begin at `place`."""

    def __init__(self, blocks: Iterator[bytes], place: Place) -> None:
        self.place = place
        self._blocks = blocks
        self._held = bytearray()
        self._ended = False
        if place.offset == 0:
            self._fill()
            if self._held.startswith(BYTE_ORDER_MARK):
                self.take(len(BYTE_ORDER_MARK), 0)

    def _fill(self) -> None:
        while len(self._held) < ROW_BYTES_MAX and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                self._held += block

    def look(self) -> tuple[bytes, bool]:
        """Whole lines from here on, and whether the stream ends with them; b"" when the first has no end in sight.

        At the end of the stream the last line needs no line feed. `(b"", True)` is the end.
        """
        self._fill()
        if self._ended and len(self._held) <= ROW_BYTES_MAX:
            return bytes(self._held), True
        return bytes(self._held[: self._held.rfind(b"\n", 0, ROW_BYTES_MAX) + 1]), False

    def take(self, size_bytes: int, lines: int) -> None:
        """Go on behind so many bytes, which are so many lines."""
        del self._held[:size_bytes]
        self.place = Place(self.place.offset + size_bytes, self.place.line + lines)

    def take_line(self) -> tuple[bytes, int]:
        """Go on behind a line of any length; its beginning and its size in bytes."""
        start = bytes(self._held[:ROW_BYTES_MAX])
        size = 0
        while True:
            end = self._held.find(b"\n") + 1
            size += end or len(self._held)
            self.take(end or len(self._held), 1 if end else 0)
            if end:
                return start, size
            self._fill()
            if not self._held:
                return start, size
