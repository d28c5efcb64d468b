"""A replay as spark-submit runs it, with the points of `_faults.points` in it."""

from __future__ import annotations

import os

from _faults import points
from jobs.core import bounded
from jobs.event_replay import JOB

if __name__ == "__main__":
    points.install(os.getppid())
    bounded.main(JOB)
