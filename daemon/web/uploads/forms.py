"""A multipart form as it comes in: small fields whole, files in pieces, so that a file of any size is never in memory.

The door to python-multipart for uploads (RFC 7578). Knows no disk and no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MOST_FIELDS: Final = 64
MOST_BYTES: Final = 128 * 1024
"""Of all fields together."""

MOST_FILES: Final = 100

MOST_HEADER_BYTES: Final = 8192
"""Of one part; a name of a file is in it."""


class BadForm(Exception):
    """Raised for what is no form, or no decent one; the message is fit for a program."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is no file."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegins:
    """The bytes that follow are those of a file."""

    name: str
    file_name: str


@dataclass(frozen=True, slots=True)
class FileEnds:
    """The file is whole."""


Piece = Field | FileBegins | bytes | FileEnds


class FormReader:
    """Takes the bytes of a request and gives what they hold, in order."""

    def __init__(self, content_type: str) -> None:
        """*content_type* is the header of the request. Raises BadForm."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise BadForm("the body must be multipart/form-data with a boundary")
        self._pieces: list[Piece] = []
        self._headers: dict[bytes, bytes] = {}
        self._header = (bytearray(), bytearray())
        self._field: tuple[str, bytearray] | None = None
        self._is_file = self._ended = False
        self._n_bytes = self._n_fields = self._n_files = self._n_header_bytes = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._part_ends,
                    "on_end": self._all_ends,
                },
            )
        except FormParserError as error:
            raise BadForm(str(error)) from None

    def feed(self, content: bytes) -> list[Piece]:
        """What *content*, which follows what came before, brings. Raises BadForm."""
        try:
            self._parser.write(content)
        except FormParserError as error:
            raise BadForm(f"the form cannot be read: {error}") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> None:
        """No more comes. Raises BadForm where the form is not whole."""
        if not self._ended:
            raise BadForm("the form ends too early")

    def _part_begins(self) -> None:
        self._n_header_bytes = 0
        self._headers, self._header = {}, (bytearray(), bytearray())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header[1].extend(data[start:end])

    def _count_header(self, n_bytes: int) -> None:
        self._n_header_bytes += n_bytes
        if self._n_header_bytes > MOST_HEADER_BYTES:
            raise BadForm(f"the headers of a part of the form have more than {MOST_HEADER_BYTES} bytes")

    def _header_ends(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise BadForm("a part of the form has no name")
        name = _text(options[b"name"])
        file_name = _file_name(options)
        self._is_file = file_name is not None
        if file_name is not None:
            self._n_files += 1
            if self._n_files > MOST_FILES:
                raise BadForm(f"more than {MOST_FILES} files in a form")
            self._pieces.append(FileBegins(name, file_name))
        else:
            self._n_fields += 1
            if self._n_fields > MOST_FIELDS:
                raise BadForm(f"more than {MOST_FIELDS} fields in a form")
            self._field = (name, bytearray())

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._pieces.append(bytes(data[start:end]))
            return
        assert self._field is not None
        self._n_bytes += end - start
        if self._n_bytes > MOST_BYTES:
            raise BadForm(f"the fields of the form have more than {MOST_BYTES} bytes")
        self._field[1].extend(data[start:end])

    def _part_ends(self) -> None:
        if self._is_file:
            self._pieces.append(FileEnds())
        elif self._field is not None:
            name, value = self._field
            self._pieces.append(Field(name, _text(bytes(value))))
        self._field, self._is_file = None, False

    def _all_ends(self) -> None:
        self._ended = True


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _file_name(options: Mapping[bytes, bytes]) -> str | None:
    name = options.get(b"filename", options.get(b"filename*"))
    return _text(name) if name is not None else None
