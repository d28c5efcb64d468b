"""A better name for what ended a job: a source that has lost what was still to be read, or a disk without room.

Spark tells of both in words that name neither topic and offset nor folder. Who knows them is asked after the failure, so a
job that runs pays nothing for it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.core.errors import JobError, NoSpace, Refused
from jobs.core.failures import words

FULL = "No space left on device"
ROOM_BYTES = 1 << 20  # less than this is none
log = logging.getLogger(__name__)
Namer = Callable[[BaseException], BaseException]


def namer(look: Callable[[], object], folders: Sequence[str]) -> Namer:
    """`look` raises Refused where the source is to blame; `folders` are where the job writes."""

    def named(failure: BaseException) -> BaseException:
        if isinstance(failure, JobError):
            return failure
        found = _lost(look) or _full(failure, folders)
        if found is not None:
            found.__cause__ = failure
        return found or failure

    return named


@contextmanager
def naming(folders: Sequence[str]) -> Iterator[None]:
    """Around a start, which writes before there is a query. Raises NoSpace for a disk without room."""
    try:
        yield
    except Exception as failure:
        full_disk = _full(failure, folders)
        if full_disk is None:
            raise
        raise full_disk from failure


def _lost(look: Callable[[], object]) -> JobError | None:
    try:
        look()
    except Refused as lost:
        return lost
    except JobError as unknown:
        log.warning("the source could not be looked at: %s", unknown)
    return None


def _full(failure: BaseException, folders: Sequence[str]) -> JobError | None:
    places = full(folders) if FULL in words(failure) else []
    return NoSpace(places) if places else None


def full(folders: Sequence[str]) -> list[str]:
    """Those on a local disk that has no room."""
    return [folder for folder in folders if (near := _near(folder)) and shutil.disk_usage(near).free < ROOM_BYTES]


def _near(folder: str) -> Path | None:
    """The folder, or the first one above it that is there; None where it is not on a local disk."""
    path = Path(folder.removeprefix("file://").removeprefix("file:"))
    return (
        None
        if ":/" in str(path)
        else next((above for above in (path, *path.absolute().parents) if above.exists()), None)
    )
