"""Which files an ONNX graph reads beside itself, found without the ``onnx`` package.

A small reader of protobuf's wire format walks only the messages of onnx.proto that can hold a tensor; weights are
skipped, not read. Field numbers are from onnx.proto3 of ONNX 1.16.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from prox_spark.errors import BundleError

# message -> {field number: message of the field}
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    # Node attributes of a function, and the defaults of its own.
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_MAX_DEPTH = 64


def external_files(graph: Path) -> set[str]:
    """Locations of external data that the graph names, as written in it. Raises BundleError if it is no ONNX file."""
    if graph.stat().st_size == 0:
        raise BundleError(f"{graph.name}: empty file")
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return set(_locations(data, 0, len(data), "model", 0))
        except (IndexError, ValueError, UnicodeDecodeError) as error:
            raise BundleError(f"{graph.name}: not an ONNX graph, or cut off ({error})") from error


def _locations(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("graphs nested too deep")
    inner = _MESSAGES[message]
    for field, at, stop in _fields(data, start, end):
        if inner.get(field) == "entry":
            pair = {number: data[a:b].decode() for number, a, b in _fields(data, at, stop)}
            if pair.get(1) == "location":
                yield pair.get(2, "")
        elif field in inner:
            yield from _locations(data, at, stop, inner[field], depth + 1)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end) of every length-delimited field between two offsets."""
    while at < end:
        key, at = _varint(data, at)
        if key >> 32:
            # Other readers cut it to 32 bits, and see a field that this one would pass over.
            raise ValueError("a field's number of more than 32 bits")
        wire = key & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 1:
            at += 8
        elif wire == 5:
            at += 4
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("a field reaches beyond its message")
            yield key >> 3, at, at + size
            at += size
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
