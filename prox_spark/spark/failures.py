"""Failures that come from outside a job, told in a line: a full disk, another writer; and those beside another one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from prox_spark.errors import BusyError, ProxError, StorageError
from prox_spark.spark.commits import is_conflict

# What operating systems say, wherever Spark repeats it.
FULL = re.compile(r"No space left on device|Disk quota exceeded|There is not enough space on the disk")
LOG = logging.getLogger("prox_spark")
T = TypeVar("T")


def known(error: Exception, location: str) -> ProxError | None:
    """Return an error of Spark's or Delta's as one of ours, where it is plain what it means; None for another one.

    location: of the tables that were worked on.
    """
    full = FULL.search(str(error))
    if full is not None:
        return StorageError(
            f"{full[0]}: that of the tables at {location}, of their progress (--checkpoints), or of Spark's own files "
            "(spark.local.dir). What was committed stays"
        )
    if is_conflict(error):
        return BusyError(
            f"another run has written to the tables at {location} meanwhile. What was committed stays; run again when "
            "it has ended"
        )
    return None


@contextmanager
def explained(location: str) -> Iterator[None]:
    """Raise what Spark and Delta say as an error of ours, where `known` knows what it means."""
    try:
        yield
    except Exception as error:
        ours = None if isinstance(error, ProxError) else known(error, location)
        if ours is None:
            raise
        raise ours from None


def beside(what: str, do: Callable[[], T]) -> T | None:
    """Do what goes with an error that is being handled; where it fails as well, log that, and return None.

    what: is not done then, in words.
    """
    try:
        return do()
    except Exception as failed:
        LOG.warning("%s: %s", what, (str(failed).strip() or type(failed).__name__).splitlines()[0])
        return None
