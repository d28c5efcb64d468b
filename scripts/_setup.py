"""What every script needs first, the Python environment and the JARs: made once, from then on only looked at.

Each failure is one sentence on stderr and exit 1. Standard library only: this runs before the environment exists.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from _lib import classes, needs, venv
from _lib import jars as _jars
from _lib.places import LOCKS, ROOT, SetupFailed, one_sentence

COMPARED = "PATTERNS_COMPARED"
__all__ = [
    "COMPARED",
    "ROOT",
    "SetupFailed",
    "compared",
    "enter",
    "environment",
    "jars",
    "python",
    "quick_environment",
    "spark_environment",
]


def environment() -> None:
    """Python and Java will do, and `.venv` is what the locks say."""
    with one_sentence():
        needs.python()
        needs.java()
        venv.ensure()


def python() -> Path:
    """The environment's Python."""
    return venv.python()


def enter() -> None:
    """Goes on as the same script in the environment's Python."""
    environment()
    if Path(sys.prefix) != venv.VENV:
        os.execv(python(), [str(python()), *sys.argv])


def compared() -> Path:
    """A folder with what the bench is compared with."""
    with one_sentence():
        return venv.beside(LOCKS / "bench.txt")


def jars(name: str) -> list[Path]:
    """The JARs of a set: `spark` for jobs, `kafka` for a broker."""
    environment()
    with one_sentence():
        ivy = next((_spark_home() / "jars").glob("ivy-*.jar"))
        return _jars.ensure(name, needs.java().executable, ivy)


def spark_environment() -> dict[str, str]:
    """The variables with which Spark finds this environment, its JARs and its defaults, whoever starts it."""
    spark = jars("spark")
    variables = {**os.environ, **_spark_variables(spark)}
    if needs.java().home is None:  # JAVA_HOME is unset or will not do: Spark takes the PATH's then
        variables.pop("JAVA_HOME", None)
    return variables


def quick_environment() -> dict[str, str]:
    """The same, for who starts many JVMs: options of those that live for minutes, and an archive of Spark's classes."""
    variables = spark_environment()
    with one_sentence():
        archive = classes.ensure(needs.java().executable, variables)
    options = {"PATTERNS_JAVA_OPTIONS": classes.QUICK}
    return {**variables, **options, **({"PATTERNS_CLASSES": str(archive)} if archive else {})}


def _spark_variables(spark: list[Path]) -> dict[str, str]:
    return {
        "PATTERNS_JARS": ",".join(map(str, spark)),
        "PYSPARK_DRIVER_PYTHON": str(python()),
        "PYSPARK_PYTHON": str(python()),
        "PYTHONPATH": str(ROOT),
        "SPARK_CONF_DIR": str(ROOT),
        "SPARK_HOME": str(_spark_home()),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


def _spark_home() -> Path:
    return venv.site_packages() / "pyspark"


if __name__ == "__main__":  # for shell scripts: makes the environment and prints its Python
    environment()
    print(python())
