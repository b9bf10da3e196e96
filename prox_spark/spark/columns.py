"""Which of a source's columns are its id, its text, and carried through; what is no good as one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from prox_spark.config import HASH_ID, JobSettings
from prox_spark.errors import SchemaError, SourceError
from prox_spark.schemas import REFINED
from prox_spark.spark.check import RESERVED

# Characters that Delta refuses in a column's name, unless it maps names.
FORBIDDEN = set(" ,;{}()\n\t=")


def id_name_of(settings: JobSettings) -> str:
    """Return the name of the source's id column."""
    return "doc_id" if settings.format == "wet" else settings.id_column


def carried_columns(fields: list[StructField], settings: JobSettings) -> tuple[StructField, ...]:
    """Return the fields to carry, after all that can be wrong with a source's columns was looked at."""
    by_name = {field.name.lower(): field for field in fields}
    if settings.format == "wet" and (settings.id_column not in ("doc_id", HASH_ID) or settings.text_column != "text"):
        raise SourceError(
            "a WET source has its own columns: its id is the WARC-Record-ID; --id-column may only be text_hash"
        )
    own = {"text"} if settings.format == "wet" else {settings.text_column.lower()}
    listing = ", ".join(field.name for field in fields)
    if not own <= by_name.keys():
        raise SourceError(
            f"the source has no text column {settings.text_column!r}; it has: {listing} (--text-column names another)"
        )
    _need_text_type(by_name[next(iter(own))])
    if settings.id_column != HASH_ID:
        id_name = id_name_of(settings).lower()
        if id_name not in by_name:
            raise SourceError(
                f"the source has no id column {settings.id_column!r}; it has: {listing}. Name one with --id-column, "
                "or take the text's sha256 as id: --id-column text_hash"
            )
        if not isinstance(by_name[id_name].dataType, BinaryType) and hasattr(by_name[id_name].dataType, "fields"):
            raise SourceError(f"the id column {settings.id_column!r} is a struct; an id is one value")
        if isinstance(by_name[id_name].dataType, TimestampType):
            # As text it depends on the session's time zone, and in autumn two instants are one.
            raise SourceError(
                f"the id column {settings.id_column!r} is a TIMESTAMP, whose text depends on the session's time zone; "
                f"take a view of the source with unix_micros({settings.id_column}) as its id"
            )
        own.add(id_name)
    chosen = [field for field in fields if field.name.lower() not in own]
    if settings.carry is not None:
        chosen = _choose(chosen, settings, own, listing)
    if settings.language_column and settings.language_column.lower() not in {field.name.lower() for field in chosen}:
        raise SourceError(
            f"the language column {settings.language_column!r} is not among the carried columns; "
            f"{_there(settings, listing)}"
        )
    check_names(chosen)
    return tuple(chosen)


def _choose(fields: list[StructField], settings: JobSettings, own: set[str], listing: str) -> list[StructField]:
    wanted = {name.lower() for name in settings.carry or ()}
    if wanted & own:
        raise SourceError(
            f"{', '.join(sorted(wanted & own))} is id or text, which are always there; leave it out of --carry"
        )
    missing = wanted - {field.name.lower() for field in fields}
    if missing:
        raise SourceError(f"no column {', '.join(sorted(missing))} to carry; {_there(settings, listing)}")
    return [field for field in fields if field.name.lower() in wanted]


def _there(settings: JobSettings, listing: str) -> str:
    if settings.format == "jsonl" and settings.source_schema is None:
        return (
            "of jsonl nothing but id and text is read unless it is declared: --schema 'doc_id STRING, text STRING, …'"
        )
    return f"the source has: {listing}"


def _need_text_type(field: StructField) -> None:
    if not isinstance(field.dataType, (StringType, BinaryType)):
        raise SourceError(
            f"the text column {field.name!r} is {field.dataType.simpleString()}; it must be string or binary"
        )


def check_names(carried: Sequence[StructField]) -> None:
    """Raise SchemaError where a column cannot stand in `refined` under its name."""
    need_free_names([field.name for field in carried])
    for field in carried:
        bad = FORBIDDEN & set("".join(_all_names(field.name, field.dataType))) | {"`"} & set(field.name)
        if bad:
            raise SchemaError(
                f"the source's column {field.name!r} cannot be carried: no name of a table may hold {sorted(bad)}; "
                "rename it, or say which columns to carry with --carry"
            )


def need_free_names(carried: Sequence[str]) -> None:
    """Raise SchemaError where a column has the name of one of ours."""
    taken = set(REFINED.names) | RESERVED
    for name in carried:
        if name.lower() in taken:
            raise SchemaError(
                f"the source's column {name!r} would be carried into `refined`, where that name is taken; "
                "rename it, or say which columns to carry with --carry"
            )


def _all_names(name: str, kind: DataType) -> Iterator[str]:
    """The name of a column and those of all fields nested in it."""
    yield name
    if isinstance(kind, StructType):
        for field in kind.fields:
            yield from _all_names(field.name, field.dataType)
    elif isinstance(kind, ArrayType):
        yield from _all_names("", kind.elementType)
    elif isinstance(kind, MapType):
        yield from _all_names("", kind.keyType)
        yield from _all_names("", kind.valueType)
