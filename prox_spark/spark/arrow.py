"""Arrow batches from Python rows, built column by column; text that Arrow cannot hold never fails a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

BATCH_ROWS = 512
BATCH_CHARS = 4_000_000

CHUNK_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("chunk", pa.int32()),
    ("first_line", pa.int32()),
    ("last_line", pa.int32()),
    ("program", pa.string()),
    ("line_scores", pa.list_(pa.float32())),
    ("prompt_tokens", pa.int32()),
    ("new_tokens", pa.int32()),
    ("truncated", pa.bool_()),
    ("looped", pa.bool_()),
    ("cut_line", pa.bool_()),
    ("error", pa.string()),
)
EDIT_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("operation", pa.string()),
    ("chunk", pa.int32()),
    ("first_line", pa.int32()),
    ("last_line", pa.int32()),
    ("start", pa.int32()),
    ("end", pa.int32()),
    ("removed", pa.string()),
    ("inserted", pa.string()),
    ("reason", pa.string()),
)


def structs(rows: Sequence[Sequence[Any] | None], fields: tuple[tuple[str, pa.DataType], ...]) -> pa.ListArray:
    """Return a list<struct> array of objects that have the fields as attributes; None gives a null list."""
    offsets: list[int | None] = []
    flat: list[Any] = []
    for row in rows:
        # A null list is one whose offset is null; its place in the flat values is that of the next list.
        offsets.append(None if row is None else len(flat))
        flat.extend(row or ())
    offsets.append(len(flat))
    arrays = [column([getattr(item, name) for item in flat], kind) for name, kind in fields]
    struct = pa.StructArray.from_arrays(arrays, fields=[pa.field(name, kind) for name, kind in fields])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), struct)


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return an array; a question mark stands for a lone surrogate, the nearest number for one that is out of range."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([None if v is None else clean(v) for v in values], kind)
    except (OverflowError, pa.ArrowInvalid):
        if not pa.types.is_int32(kind):
            raise
        return pa.array([None if v is None else max(-(2**31), min(v, 2**31 - 1)) for v in values], kind)


def clean(value: str) -> str:
    """Return the string with a question mark for each lone surrogate."""
    return value.encode("utf-8", "replace").decode("utf-8")


def bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the batch in pieces of at most BATCH_ROWS rows and BATCH_CHARS bytes, which a single row may exceed.

    Nothing is copied. Spark 3.5 bounds its batches by rows only, and a session of somebody else's by its own settings.
    """
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield from _halved(batch.slice(start, BATCH_ROWS))


def _halved(piece: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the piece in halves of halves until each is small enough; Arrow tells the bytes of a slice from offsets."""
    if piece.nbytes <= BATCH_CHARS or piece.num_rows == 1:
        yield piece
        return
    half = piece.num_rows // 2
    yield from _halved(piece.slice(0, half))
    yield from _halved(piece.slice(half))
