"""The wire format of protocol buffers: fields one after the other, read without any library.

A field is a number and a wire type in one varint, then its content: a varint, 4 or 8 bytes, or a
length and so many bytes. Nothing is copied, and the work is bounded however a file is made: no
length is believed that leaves the enclosing message, and the number of fields is limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.errors import CheckpointError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 are groups, which were given up before the formats read here were made."""

MAX_FIELDS = 1_000_000
"""Fields in a file. Published weight files have some thousands."""

_MAX_TEXT = 1000
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_REMEDY = "the file is damaged or of another kind; fetch it again"


@dataclass(slots=True)
class Source:
    """The bytes of one file.

    Attributes:
        data: all of them.
        location: what errors name.
        fields: how many have been read.
    """

    data: memoryview
    location: str
    fields: int = 0

    def fail(self, position: int, expected: str, got: str) -> CheckpointError:
        """Make the error of a byte."""
        message = f"{self.location}: byte {position:,}: expected {expected}, got {got}; {_REMEDY}"
        return CheckpointError(message)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: what the format's description calls it.
        wire: its wire type.
        value: of a varint; otherwise 0.
        start: the first byte of its content.
        stop: the byte after it.
    """

    number: int
    wire: int
    value: int
    start: int
    stop: int


class Message:
    """The fields of one message, in the order of the file.

    Raises:
        CheckpointError: while iterating, where the bytes are no message.
    """

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self.source = source
        self._position = start
        self._stop = stop

    def __iter__(self) -> Iterator[Field]:
        """Read field after field."""
        while self._position < self._stop:
            yield self._next()

    def below(self, field: Field) -> Message:
        """Read a field's content as a message."""
        self.expect(field, BYTES)
        return Message(self.source, field.start, field.stop)

    def text(self, field: Field) -> str:
        """Read a field's content as a short text."""
        self.expect(field, BYTES)
        length = field.stop - field.start
        if length > _MAX_TEXT:
            raise self.source.fail(field.start, f"a name of at most {_MAX_TEXT} bytes", f"{length}")
        raw = bytes(self.source.data[field.start : field.stop]).decode("utf-8", "replace")
        return re.sub(r"[^\x20-\x7e]", "?", raw)

    def expect(self, field: Field, wire: int) -> None:
        """Refuse a field of another wire type."""
        if field.wire != wire:
            raise self.source.fail(
                field.start, f"wire type {wire} in field {field.number}", f"{field.wire}"
            )

    def varints(self, field: Field, most: int) -> list[int]:
        """Read a repeated number's one value, or its many in one field."""
        if field.wire == VARINT:
            return [field.value]
        self.expect(field, BYTES)
        values, position = [], field.start
        while position < field.stop:
            value, position = self._varint(position, field.stop)
            values.append(value)
            if len(values) > most:
                raise self.source.fail(position, f"at most {most} numbers", "more")
        return values

    def numbers(self, field: Field, wire: int) -> NDArray[Any]:
        """Read a repeated float (``FIXED32``) or double (``FIXED64``), without a copy.

        In one field of many values, or in many fields of one value: those that follow each other
        are read together.
        """
        width = _WIDTHS[wire]
        kind = np.dtype(f"<f{width}")
        if field.wire == BYTES:
            length = field.stop - field.start
            if length % width:
                raise self.source.fail(field.start, f"values of {width} bytes", f"{length} bytes")
            return np.frombuffer(self.source.data[field.start : field.stop], kind)
        self.expect(field, wire)
        tag = field.number << 3 | wire
        first = np.frombuffer(self.source.data[field.start : field.stop], kind)
        return np.concatenate([first, self._run(tag, kind)]) if tag < 0x80 else first

    def _run(self, tag: int, kind: np.dtype[Any]) -> NDArray[Any]:
        """Read the fields of one value each that follow and have a one-byte tag."""
        record = np.dtype([("tag", "u1"), ("value", kind)])
        begin, size = self._position, 64
        while True:
            most = min(size, (self._stop - begin) // record.itemsize)
            if most == 0:
                return np.empty(0, kind)
            records = np.frombuffer(self.source.data, record, count=most, offset=begin)
            others = np.flatnonzero(records["tag"] != tag)
            count = int(others[0]) if len(others) else most
            if count < size:
                self._position = begin + count * record.itemsize
                return records["value"][:count]
            size *= 8

    def _next(self) -> Field:
        """Read one field."""
        source, begin = self.source, self._position
        source.fields += 1
        if source.fields > MAX_FIELDS:
            raise source.fail(begin, f"at most {MAX_FIELDS:,} fields", "more")
        tag, position = self._varint(begin, self._stop)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise source.fail(begin, "a field number from 1 to 536,870,911", f"{number:,}")
        if wire == VARINT:
            value, stop = self._varint(position, self._stop)
            self._position = stop
            return Field(number, wire, value, position, stop)
        if wire == BYTES:
            length, position = self._varint(position, self._stop)
        elif wire in _WIDTHS:
            length = _WIDTHS[wire]
        else:
            raise source.fail(begin, "wire type 0, 1, 2 or 5", f"{wire} in field {number}")
        if length > self._stop - position:
            got = f"{self._stop - position:,} of them up to the end of the message or file"
            raise source.fail(position, f"the {length:,} bytes of field {number}", got)
        self._position = position + length
        return Field(number, wire, 0, position, self._position)

    def _varint(self, position: int, stop: int) -> tuple[int, int]:
        """Read a number of 7 bits a byte, lowest first; return it and the byte after it."""
        data, value, begin = self.source.data, 0, position
        for shift in range(0, 70, 7):
            if position >= stop:
                raise self.source.fail(begin, "a whole number", "the end of the message or file")
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
        raise self.source.fail(begin, "a number of at most 10 bytes", "a longer one")
