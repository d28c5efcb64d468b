"""Python's workers: processes that Spark keeps for one task after the other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from pyspark import TaskContext

P = ParamSpec("P")
T = TypeVar("T")


def in_worker(work: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """A task's work; what its worker has loaded by the end of the first one, garbage collection passes over from then on.

    Spark's worker collects after each task (`pyspark/daemon.py`), while the next one waits for it: 50 ms for the modules alone.
    """

    @wraps(work)
    def done(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        yield from work(*args, **kwargs)
        if TaskContext.get() is not None:
            _settle(work.__qualname__)

    return done


@cache
def _settle(work: str) -> None:
    """Once for each kind of work, as another kind loads more."""
    gc.freeze()
