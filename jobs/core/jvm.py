"""Classes and objects of the JVM by their full names, each looked for once.

Written as attributes (`jvm.org.apache...`) a name takes a call for each of its parts, and the JVM looks through every JAR for
a class that is called like the part.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from py4j.java_gateway import JavaClass
from pyspark.sql import SparkSession


def java_class(spark: SparkSession, name: str) -> Any:
    """Raises LookupError where no JAR has it."""
    return _java_class(spark._jvm, name)


def scala_object(spark: SparkSession, name: str) -> Any:
    """The one instance of a Scala object. Raises LookupError where no JAR has it."""
    return _scala_object(spark._jvm, name)


@cache
def _java_class(jvm: Any, name: str) -> Any:
    found = getattr(jvm, name)
    if not isinstance(found, JavaClass):
        raise LookupError(f"no JAR on the class path has {name}")
    return found


@cache
def _scala_object(jvm: Any, name: str) -> Any:
    return getattr(_java_class(jvm, f"{name}$"), "MODULE$")
