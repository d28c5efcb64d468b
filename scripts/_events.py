"""Events as the seed writes them, made from their number alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it comes with Spark, which takes a while
    from pyspark.sql import DataFrame, SparkSession


def user_of(number: int, users: int) -> int:
    return number * 7919 % users


def events_of(count: int, users: int) -> Iterator[bytes]:
    """Each user's first event creates it, the others change its mail address or its plan."""
    for number in range(count):
        user, at = f"u{user_of(number, users):06d}", 1_767_607_200 + number / 1000
        if number < users:
            kind, rest = "user_created", f'"name": "Name {number}", "email": "{user}@example.org", "plan": "free"'
        elif number % 3:
            kind, rest = "user_updated", f'"email": "{user}.{number}@example.org"'
        else:
            kind, rest = "user_updated", f'"plan": "plan {number % 5}"'
        yield f'{{"event_type": "{kind}", "data": {{"user_id": "{user}", {rest}}}, "timestamp": {at:.3f}}}'.encode()


def log_of(spark: SparkSession, first: int, after: int, users: int) -> DataFrame:
    """EVENT of the numbers from first up to after, as a log has them: the streams' versions have no holes."""
    return spark.sql(
        """
        SELECT concat('u', id % {users}) AS stream_id, id DIV {users} + 1 AS stream_version, concat('e', id) AS event_id,
               if(id < {users}, 'user_created', 'user_updated') AS event_type, 1 AS schema_version,
               to_json(named_struct('user_id', concat('u', id % {users}), 'name', concat('Name ', id),
                                    'email', concat(id, '@example.org'))) AS data,
               CAST(NULL AS MAP<STRING, STRING>) AS metadata, timestamp_seconds(1767607200 + id) AS occurred_at,
               current_timestamp() AS recorded_at, 'users' AS _topic, 0 AS _partition, id AS _offset
        FROM {numbers}
        """,
        users=users,
        numbers=spark.range(first, after),
    )
