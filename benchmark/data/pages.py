"""What the pages of a Parquet file say of themselves, without unfolding them: a reader takes memory for what they announce.

Page headers are structs of Thrift's compact protocol: https://parquet.apache.org/docs/file-format/data-pages/ and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from ...errors import DataError

_HEADER = 1 << 16  # bytes that a header takes at most
_TYPE, _UNFOLDED, _FOLDED = 1, 2, 3  # fields of a header
_ABOUT = {0: 5, 2: 7, 3: 8}  # by type, the field that says more: of data, a dictionary, data in the second format
_DICTIONARY, _VALUES = 2, 1  # a type; and the field of what says more that counts the numbers


@dataclass(frozen=True)
class Page:
    """A page, as its header has it.

    Attributes:
        values: numbers in it.
        unfolded: its bytes, unfolded.
        dictionary: whether it holds what others refer to.
    """

    values: int
    unfolded: int
    dictionary: bool


def pages(path: Path) -> Iterator[tuple[int, Page]]:
    """Every page of a file, with the number of the column that it is of: what names it there may be anything.

    Raises:
        DataError: a header is damaged, or leads out of its column.
    """
    found = pq.read_metadata(path)
    with path.open("rb") as stream:
        for group in map(found.row_group, range(found.num_row_groups)):
            for number in range(group.num_columns):
                try:
                    for page in _of_column(stream, group.column(number)):
                        yield number, page
                except (LookupError, ValueError, TypeError, OverflowError, RecursionError) as error:
                    raise DataError(f"{path} is damaged (a page of its column {number}).") from error


def _of_column(stream: BinaryIO, column: Any) -> Iterator[Page]:
    at = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < at:
        at = column.dictionary_page_offset
    end = at + column.total_compressed_size
    while at < end:
        stream.seek(at)
        compact = _Compact(stream.read(_HEADER))
        header = compact.struct()
        values = header[_ABOUT[header[_TYPE]]][_VALUES]
        page = Page(values, header[_UNFOLDED], header[_TYPE] == _DICTIONARY)
        if min(page.values, page.unfolded, header[_FOLDED]) < 1:
            raise ValueError("an empty page")
        yield page
        at += compact.at + header[_FOLDED]
    if at != end:
        raise ValueError("a page that leads out of its column")


class _Compact:
    """Reads Thrift's compact protocol.

    Args:
        raw: what is read.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw, self.at = raw, 0

    def struct(self) -> dict[int, Any]:
        """Its fields by number."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):  # true and false have no other bytes
            return kind == 1
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 12:
            return self.struct()
        if kind in (9, 10):  # a list, a set
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._byte() if head & 15 in (1, 2) else self._value(head & 15) for _ in range(count)]
        sizes = {3: lambda: 1, 7: lambda: 8, 8: self._varint}  # a byte, a double, a text
        size = sizes[kind]()
        self.at += size
        return None

    def _integer(self) -> int:
        found = self._varint()
        return found >> 1 ^ -(found & 1)

    def _varint(self) -> int:
        found = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise ValueError("a number without end")

    def _byte(self) -> int:
        self.at += 1
        return self._raw[self.at - 1]
