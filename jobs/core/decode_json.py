"""JSON records -> columns: msgspec and Arrow for what is plainly good, a careful reader for the rest.

The careful reader (`decode_scan`, `decode_plan`) says what is accepted. The fast path (`decode_fast`) accepts nothing
else: it proves, for many records at once, that msgspec let nothing through, and hands all other records over.

    column          JSON                                              not
    TINYINT..BIGINT a number without fraction and exponent            1.0, 1e3, "7"; beyond the type: OUT_OF_RANGE
    DECIMAL(p,s)    a number, taken exactly; 1.50 is 1.5              "1.5"; more decimals or digits: OUT_OF_RANGE
    FLOAT, DOUBLE   a number, to the nearest                          "1"; 1e999, NaN, Infinity: OUT_OF_RANGE
    BOOLEAN         true, false                                       0, 1, "true"
    STRING          a string without U+0000 and lone surrogates       a number, an object
    BINARY          a string in base64 with padding (RFC 4648, 4)     other text
    DATE            a string YYYY-MM-DD                               2026-02-30; years outside the bounds: OUT_OF_RANGE
    TIMESTAMP
      rfc3339       a string with seconds and zone (RFC 3339)         no zone, a number; a seventh decimal: OUT_OF_RANGE
      epoch_s       a number of seconds, exact to the microsecond;    a string; milliseconds end up OUT_OF_RANGE
                    more decimals only in a number of 17 digits at
                    most, as a double is written: to the nearest
      epoch_ms      a number without fraction and exponent            1700000000000.5
    ARRAY           an array; null elements stay null                 anything else
    MAP<STRING,..>  an object; null values stay null                  anything else
    STRUCT          an object                                         anything else

`null` equals a missing field; with `nullable: explicit` every field has to be there, and a null says that there is no
value. A field of `required`, and one that is NOT NULL, has to have a value. With `unknown_fields: reject`, a field that
the schema does not have is WRONG_TYPE, with its name in the detail; if a required one is missing for it (its name in
another case, say), MISSING_REQUIRED comes first. NaN and Infinity are OUT_OF_RANGE wherever a number may stand, in
unknown fields too. An object without any field is MISSING_REQUIRED. The object itself is the first level of depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from jobs.core.decode_fast import fast_path
from jobs.core.decode_plan import DecodeSettings, Reader, Rejection, Struct, compile_schema, kind
from jobs.core.decode_rows import Chunked, Decoder, Row
from jobs.core.decode_scan import SPACE, Malformed, Scanned, scan
from jobs.core.reasons import Reason

TYPE_TABLE = {
    "TINYINT, SMALLINT, INT, BIGINT": "a number without fraction and exponent, within the type's bounds",
    "DECIMAL(p,s)": "a number with at most s decimals and p digits, exactly; zeros at the end do not count",
    "FLOAT, DOUBLE": "a finite number, to the nearest",
    "BOOLEAN": "true or false",
    "STRING": "a string without U+0000 and lone surrogates",
    "BINARY": "a string in base64, padded",
    "DATE": "a string YYYY-MM-DD, its year within the bounds",
    "TIMESTAMP rfc3339": "a string by RFC 3339: seconds, a zone, at most six decimals",
    "TIMESTAMP epoch_s": "a number of seconds, exact to the microsecond, or as a double is written (17 digits)",
    "TIMESTAMP epoch_ms": "a number of milliseconds without fraction and exponent",
    "ARRAY<type>": "an array of the type or null",
    "MAP<STRING, type>": "an object with values of the type or null",
    "STRUCT<...>": "an object",
}


def decoder(settings: DecodeSettings) -> Decoder:
    """Raises ValueError for a type that no record can have."""
    plan = compile_schema(settings)
    return Chunked(plan, fast_path(plan, settings), JsonReader(settings, plan))


@dataclass(frozen=True)
class JsonReader:
    """One record, carefully."""

    settings: DecodeSettings
    plan: Struct

    def __call__(self, value: bytes) -> Row | Rejection:
        """Its row, or the first reason that fits."""
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            return Rejection(Reason.INVALID_TEXT, f"invalid UTF-8 at byte {error.start}")
        if not text.strip(SPACE):
            return Rejection(Reason.MISSING_REQUIRED, "empty")
        try:
            found = scan(text, self.settings.max_depth)
        except Malformed as error:
            return Rejection(Reason.INVALID_TEXT if error.text else Reason.MALFORMED, str(error))
        return self._shape(found) or self._read(found)

    def _shape(self, found: Scanned) -> Rejection | None:
        faults = [
            (found.text, Reason.INVALID_TEXT, "a lone surrogate or U+0000"),
            (found.trailing, Reason.TRAILING_DATA, "something follows the first value"),
            (found.duplicate, Reason.DUPLICATE_KEY, "a key comes twice in one object"),
            (found.depth > self.settings.max_depth, Reason.TOO_DEEP, f"deeper than {self.settings.max_depth} levels"),
            (not isinstance(found.value, dict), Reason.NOT_OBJECT, f"expected object, found {kind(found.value)}"),
            (found.value == {}, Reason.MISSING_REQUIRED, "$: no fields"),
        ]
        return next((Rejection(reason, detail) for is_so, reason, detail in faults if is_so), None)

    def _read(self, found: Scanned) -> Row | Rejection:
        reader = Reader()
        row = reader.struct(self.plan, cast("dict[str, object]", found.value), "$")
        if found.not_finite:
            reader.faults.append(Rejection(Reason.OUT_OF_RANGE, "NaN or an infinity"))
        return reader.worst() or row
