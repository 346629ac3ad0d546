"""The form of an upload: the same in any pieces; what is no form is refused, and no name is a path."""

from __future__ import annotations

from contextlib import suppress

import httpx2
import pytest
from aforo_collector.doors.uploads.form import MalformedForm, UploadForm, label_of
from hypothesis import given, settings
from hypothesis import strategies as st

from .reading import pieces


def form(data: dict[str, str], *files: tuple[str, bytes]) -> tuple[str, bytes]:
    """Content type and body of a form as a client makes it."""
    request = httpx2.Request("POST", "http://x/", data=data, files=[("file", file) for file in files])
    return request.headers["content-type"], request.read()


def read(content_type: str, body: bytes, sizes: list[int]) -> tuple[UploadForm, bytes]:
    """The form in pieces of these sizes, and its file."""
    found = UploadForm(content_type)
    file = b"".join(piece for part in pieces(body, sizes) for piece in found.feed(part))
    found.finish()
    return found, file


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from([b"a", b"\r\n", b"--", b"\r", b"\n--", b"\x00\xff"]), max_size=40).map(b"".join),
    st.dictionaries(st.sampled_from(["rowCount", "dryRun", "defaultMetricName"]), st.text("aé1", max_size=9)),
    st.lists(st.integers(1, 50), max_size=4),
)
def test_a_form_reads_the_same_in_any_pieces(
    content: bytes, fields: dict[str, str], sizes: list[int]
) -> None:
    """The file comes out byte for byte, the fields as they were given."""
    found, file = read(*form(fields, ("a.csv", content)), sizes)
    assert file == content
    assert found.fields == fields
    assert found.file_name == "a.csv"


@settings(max_examples=200)
@given(st.lists(st.sampled_from([
    b"--b", b"\r\n", b"--", b"Content-Disposition: form-data; name=", b'"file"', b'; filename="x"', b":", b"\x00",
    b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n', b"\r\n--b--\r\n", b"a" * 5_000,
]), max_size=30).map(b"".join), st.lists(st.integers(1, 50), max_size=4))  # fmt: skip
def test_bytes_of_any_kind_are_a_form_or_refused(body: bytes, sizes: list[int]) -> None:
    """There is no other outcome."""
    with suppress(MalformedForm):
        _, file = read("multipart/form-data; boundary=b", body, sizes)
        assert file in body


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/csv",
        "multipart/form-data",
        'multipart/form-data; boundary=""',
        "multipart/mixed; boundary=b",
    ],
)
def test_another_content_type_is_refused(content_type: str) -> None:
    """Only a form with a boundary can be read."""
    with pytest.raises(MalformedForm):
        UploadForm(content_type)


def test_parts_that_make_no_sense_are_refused() -> None:
    """An unknown part, one that comes twice, two files, none, a field of megabytes, an end before the end."""
    content_type, body = form({"dryrun": "true"}, ("a", b"x"))
    with pytest.raises(MalformedForm, match="'dryrun'"):
        read(content_type, body, [])
    with pytest.raises(MalformedForm, match="more than one"):
        read(*form({}, ("a", b"x"), ("b", b"y")), [])
    with pytest.raises(MalformedForm, match="no part `file`"):
        read(
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="dryRun"\r\n\r\n1\r\n--b--\r\n',
            [],
        )
    with pytest.raises(MalformedForm, match="longer than"):
        read(*form({"columnMap": "x" * 70_000}, ("a", b"x")), [])
    content_type, body = form({}, ("a", b"x"))
    with pytest.raises(MalformedForm, match="ends before"):
        read(content_type, body[:-5], [])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\logs\\a.csv", "a.csv"), ("a\x00b\n.csv", "ab.csv"), ("..", ".."),
        ("", ""),
        ("x" * 300, "x" * 255), ("\u202evsc.a", "vsc.a"),
    ],
)  # fmt: skip
def test_a_file_name_is_a_label(name: str, label: str) -> None:
    """Folders and what cannot be printed are left away; it is never opened."""
    assert label_of(name) == label
