"""The main job as spark-submit runs it, with the points of `_faults.points` in it."""

from __future__ import annotations

import os

from _faults import points
from jobs.core import runner
from jobs.stream_table_join import Config, start

if __name__ == "__main__":
    points.install(os.getppid())
    runner.main(Config, start)
