"""Files as they are sent: plain, gzip or zstd, told by their first bytes, unpacked as a stream within a bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import zstandard

from .rows import UnreadableFile

BLOCK_BYTES: Final = 65_536
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_PIECE_BYTES: Final = 512
"""One piece comes out whole, and may be 32,000 times as large."""
_ZSTD_WINDOW_BYTES_MAX: Final = 1 << 27
_ARCHIVES: Final = (b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"BZh", b"\xfd7zXZ", b"Rar!")
_MAGIC_BYTES: Final = 6


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so is packed; raises `UnreadableFile` for an archive, which is not read."""
    if head.startswith(_ARCHIVES):
        detail = "the file is an archive; send CSV or NDJSON, plain or packed with gzip or zstd"
        raise UnreadableFile("UNSUPPORTED_FILE", detail)
    return head.startswith((_GZIP, _ZSTD))


def unpacked(file: BinaryIO, offset: int, size_bytes_max: int) -> Iterator[bytes]:
    """The unpacked bytes of a file from an offset on, in blocks; raises `UnreadableFile`.

    A small file may unpack to thousands of times its size: no more than `size_bytes_max` bytes are given.
    """
    head = file.read(_MAGIC_BYTES)
    if not is_packed(head):
        file.seek(offset)
        while block := file.read(BLOCK_BYTES):
            yield block
        return
    file.seek(0)
    size = 0
    for block in _gunzipped(file) if head.startswith(_GZIP) else _unzstd(file):
        size += len(block)
        if size > size_bytes_max:
            detail = f"the file unpacks to more than {size_bytes_max} bytes; send it in parts"
            raise UnreadableFile("FILE_TOO_LARGE", detail)
        if size > offset:
            yield block[max(0, offset - size + len(block)) :]


def _gunzipped(file: BinaryIO) -> Iterator[bytes]:
    """Any number of members, one behind the other, as `cat a.gz b.gz` makes them."""
    member = zlib.decompressobj(wbits=31)
    try:
        while piece := file.read(BLOCK_BYTES):
            while piece:
                if member.eof:
                    member = zlib.decompressobj(wbits=31)
                yield member.decompress(piece, BLOCK_BYTES)
                piece = member.unused_data.lstrip(b"\0") if member.eof else member.unconsumed_tail
    except zlib.error as error:
        raise _damaged("gzip", str(error)) from error
    if not member.eof:
        raise _damaged("gzip", "it ends before its content does")


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    """Any number of frames."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    frame = decompressor.decompressobj()
    try:
        while piece := file.read(_ZSTD_PIECE_BYTES):
            while piece:
                if frame.eof:
                    frame = decompressor.decompressobj()
                yield frame.decompress(piece)
                piece = frame.unused_data
    except zstandard.ZstdError as error:
        raise _damaged("zstd", str(error)) from error
    if not frame.eof:
        raise _damaged("zstd", "it ends before its content does")


def _damaged(packing: str, why: str) -> UnreadableFile:
    return UnreadableFile("DAMAGED_FILE", f"the {packing} file is damaged: {why}; nothing was recorded")
