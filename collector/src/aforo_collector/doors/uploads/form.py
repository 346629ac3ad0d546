"""`multipart/form-data` as a stream: fields are kept, the bytes of the file are given on as they come."""

from __future__ import annotations

from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

FILE: Final = "file"
FIELDS: Final = frozenset(
    ("defaultMetricName", "defaultCustomerId", "rowCount", "columnMap", "backfillDays", "dryRun")
)
FIELD_BYTES_MAX: Final = 65_536
NAME_LENGTH_MAX: Final = 255


class MalformedForm(ValueError):
    """A body that is not the form of an upload. Nothing was recorded."""


class UploadForm:
    """The form of an upload, which may come in any pieces and its parts in any order.

    `file_name` is what the sender calls the file, a label without any folder; `fields` are the other parts,
    each once.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise MalformedForm(
                "an upload is a multipart/form-data body with a boundary, its file in the part `file`"
            )
        self.file_name = ""
        self.has_file = False
        self.fields: dict[str, str] = {}
        self._ended = False
        self._name = ""
        self._value = bytearray()
        self._header = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._pieces: list[bytes] = []
        self._parser = MultipartParser(boundary, {
            "on_part_begin": self._part_begins, "on_part_data": self._part_data, "on_part_end": self._part_ends,
            "on_header_field": self._header_field, "on_header_value": self._header_data,
            "on_header_end": self._header_ends, "on_headers_finished": self._headers_end, "on_end": self._form_ends,
        })  # fmt: skip

    def feed(self, data: bytes) -> list[bytes]:
        """Read on; returns the bytes of the file among it. Raises `MalformedForm`."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedForm(f"the form is malformed: {error}") from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> None:
        """The body is at its end; raises `MalformedForm` when the form is not, or has no file."""
        if not self._ended:
            raise MalformedForm("the form ends before its last boundary")
        if not self.has_file:
            raise MalformedForm("the form has no part `file`")

    def _part_begins(self) -> None:
        self._name, self._disposition = "", b""
        self._value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header.clear()
        self._header_value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == FILE:
            if self.has_file:
                raise MalformedForm("the form has more than one part `file`; send one file at a time")
            self.has_file = True
            self.file_name = label_of(options.get(b"filename", b"").decode("utf-8", "replace"))
        elif self._name not in FIELDS:
            raise MalformedForm(
                f"the form has a part {self._name[:80]!r}; there are file, {', '.join(sorted(FIELDS))}"
            )
        elif self._name in self.fields:
            raise MalformedForm(f"the form has the part {self._name!r} twice")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            self._pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > FIELD_BYTES_MAX:
            raise MalformedForm(f"the part {self._name!r} is longer than {FIELD_BYTES_MAX} bytes")

    def _part_ends(self) -> None:
        if self._name == FILE:
            return
        try:
            self.fields[self._name] = self._value.decode().strip()
        except UnicodeDecodeError:
            raise MalformedForm(f"the part {self._name!r} is not UTF-8") from None

    def _form_ends(self) -> None:
        self._ended = True


def label_of(file_name: str) -> str:
    """A file's name without folders and without what cannot be printed: it is shown, and never opened."""
    last = file_name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:NAME_LENGTH_MAX]
