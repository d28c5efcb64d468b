"""A job as spark-submit runs it, with the points of `_faults.points` in it; the first argument names its module."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from _faults import points
from jobs.core import bounded, runner

if __name__ == "__main__":
    job = import_module(sys.argv.pop(1))
    points.install(os.getppid())
    bounded.main(job.JOB) if hasattr(job, "JOB") else runner.main(job.Config, job.start)
