"""Why a record was not written: a closed list, in the order in which reasons are tried.

The first that fits is the one a dead letter carries; the list is part of the format and only ever grows.
"""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """A reason code; its value is what stands in a dead letter."""

    TOMBSTONE = "TOMBSTONE"  # null value where none is meant
    TOO_LARGE = "TOO_LARGE"  # longer than max_record_bytes
    INVALID_TEXT = "INVALID_TEXT"  # invalid UTF-8, a lone surrogate, U+0000
    MALFORMED = "MALFORMED"  # not the format at all: truncated, BOM, garbage
    TRAILING_DATA = "TRAILING_DATA"  # something after the value
    DUPLICATE_KEY = "DUPLICATE_KEY"  # one key twice in one object
    TOO_DEEP = "TOO_DEEP"  # deeper than 64 levels
    NOT_OBJECT = "NOT_OBJECT"  # a scalar, null or a list where a record is meant
    MISSING_REQUIRED = "MISSING_REQUIRED"  # empty, or a required field null or absent
    WRONG_TYPE = "WRONG_TYPE"  # a field of another type than the schema's
    OUT_OF_RANGE = "OUT_OF_RANGE"  # beyond the type's or the config's bounds
    FUTURE = "FUTURE"  # event time too far in the future
    CONSTRAINT = "CONSTRAINT"  # a constraint of the config failed
    UNKNOWN_TYPE = "UNKNOWN_TYPE"  # an event of a type that the reader does not have
    UNKNOWN_VERSION = "UNKNOWN_VERSION"  # an event of a schema version that the reader does not have
    VERSION_CONFLICT = "VERSION_CONFLICT"  # an event insists on a version that its stream is not at
    GAP = "GAP"  # an event's version leaves a hole in its stream
    NO_REFERENCE = "NO_REFERENCE"  # no reference row for the key (on_miss: dead_letter, or wait_for passed)
    NO_TOPIC = "NO_TOPIC"  # the topic column of a Kafka sink names none of its topics
    KEY_BLOCKED = "KEY_BLOCKED"  # an earlier record of its key is a dead letter, or waits (key_order)
    NO_ANSWER = "NO_ANSWER"  # a lookup's service did not answer, or what it said is no answer (on_failure: dead_letter)
    SINK_REJECTED = "SINK_REJECTED"  # the sink's table refused the row: a constraint, a type, a length, an encoding


class Apart(str, Enum):
    """Why a record is put aside that is no dead letter."""

    LATE = "LATE"  # it has an output of its own
    WAITING = "WAITING"  # it is parked, and tried again


LATE, WAITING = Apart.LATE.value, Apart.WAITING.value
INSTEAD = (
    "_instead"  # column: the reason of a waiting record once it has waited too long; NO_REFERENCE where there is none
)
