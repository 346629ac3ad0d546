"""Packed files: any packing reads as the plain file, what is damaged or swells is refused, memory stays flat."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from aforo_collector.doors.uploads.packing import BLOCK_BYTES, unpacked
from aforo_collector.doors.uploads.rows import UnreadableFile
from hypothesis import given, settings
from hypothesis import strategies as st

MIB = 1024 * 1024
Pack = Callable[[bytes], bytes]


def plain(data: bytes) -> bytes:
    """As it is."""
    return data


def zstd(data: bytes) -> bytes:
    """With a checksum, as the command `zstd` does it."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def swelling_gzip(size_mib: int) -> bytes:
    """A gzip file of zeros, made piece by piece."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size_mib)), packer.flush()])


def swelling_zstd(size_mib: int) -> bytes:
    """A zstd file of zeros, made piece by piece."""
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size_mib)), packer.flush()])


def read(packed: bytes, offset: int = 0, size_bytes_max: int = 1 << 40) -> bytes:
    """What a file unpacks to."""
    return b"".join(unpacked(io.BytesIO(packed), offset, size_bytes_max))


@settings(max_examples=60)
@given(
    st.lists(st.binary(max_size=300) | st.integers(0, 3 * BLOCK_BYTES).map(bytes), min_size=1, max_size=3),
    st.sampled_from([plain, gzip.compress, zstandard.compress]),
    st.integers(0, 4 * BLOCK_BYTES),
)
def test_a_packed_file_reads_as_the_plain_one_from_anywhere(
    members: list[bytes], pack: Pack, offset: int
) -> None:
    """In one piece or in several, from any offset of what it unpacks to."""
    members = [b"k" + member for member in members]  # no member looks packed itself
    packed = b"".join(map(pack, members))
    assert read(packed, offset) == b"".join(members)[offset:]


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_damaged_file_is_told(pack: Pack) -> None:
    """Cut anywhere, or with bytes that are wrong: it is refused, never taken for a shorter file."""
    packed = pack(bytes(range(256)) * 40)
    for end in (7, len(packed) // 2, len(packed) - 1):
        with pytest.raises(UnreadableFile) as raised:
            read(packed[:end])
        assert raised.value.code == "DAMAGED_FILE"
    with pytest.raises(UnreadableFile):
        read(packed[:12] + b"\xff" * 12 + packed[24:])
    with pytest.raises(UnreadableFile):
        read(packed + packed[:7])


def test_an_archive_is_told() -> None:
    """Archives have files of their own; which one is meant is not guessed."""
    with pytest.raises(UnreadableFile) as raised:
        read(b"PK\x03\x04 and so on")
    assert raised.value.code == "UNSUPPORTED_FILE"


@pytest.mark.parametrize("make", [swelling_gzip, swelling_zstd])
def test_a_bomb_is_refused_at_its_bound_and_costs_little_memory(make: Callable[[int], bytes]) -> None:
    """A file of kilobytes that unpacks to hundreds of megabytes is read no further than it may be."""
    bomb = make(256)
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFile) as raised:
            for _ in unpacked(io.BytesIO(bomb), 0, 200 * MIB):
                pass
        assert raised.value.code == "FILE_TOO_LARGE"
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
