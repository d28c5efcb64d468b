"""DDL in, a tree of fields out; whatever else is refused with its place."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.schema import (
    SCALARS,
    Array,
    Decimal,
    Field,
    Map,
    Scalar,
    SchemaError,
    Struct,
    column_names,
    named_beside,
    parse_ddl,
    parse_type,
)

STRING, INT, BIGINT = Scalar("STRING"), Scalar("INT"), Scalar("BIGINT")


def test_every_type_by_its_name() -> None:
    text = ", ".join(f"c{number} {name}" for number, name in enumerate(SCALARS))
    assert parse_ddl(text) == tuple(Field(f"c{number}", Scalar(name)) for number, name in enumerate(SCALARS))


def test_nested_types_and_nullability() -> None:
    text = """
        -- an order
        order_id STRING NOT NULL COMMENT 'its id', amount decimal(10, 2), tags MAP<STRING, INT>,
        items ARRAY<STRUCT<sku: STRING, n INT NOT NULL, _x: ARRAY<BIGINT>>>, `odd-name` Dec
    """
    item = Struct((Field("sku", STRING), Field("n", INT, nullable=False), Field("_x", Array(BIGINT))))
    assert parse_ddl(text) == (
        Field("order_id", STRING, nullable=False),
        Field("amount", Decimal(10, 2)),
        Field("tags", Map(INT)),
        Field("items", Array(item)),
        Field("odd-name", Decimal(10, 0)),
    )
    assert column_names(parse_ddl(text)) == ["order_id", "amount", "tags", "items", "odd-name"]


@pytest.mark.parametrize(
    ("text", "name"), [("INTEGER", "INT"), ("long", "BIGINT"), ("Short", "SMALLINT"), ("BYTE", "TINYINT")]
)
def test_synonyms(text: str, name: str) -> None:
    assert parse_type(text) == Scalar(name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1, column 1: expected a column name, found the end"),
        ("a", "line 1, column 2: expected a type, found the end"),
        ("a STRNG", "line 1, column 3: expected a type, found STRNG (nearest: STRING)"),
        ("a FROB", "line 1, column 3: expected a type, found FROB; known: BOOLEAN, "),
        ("a `INT`", "line 1, column 3: expected a type, found `INT`"),
        ("a INT,\n  b INT c", "line 2, column 9: expected the end, found c"),
        ("a INT,", "line 1, column 7: expected a column name, found the end"),
        ("a INT,, b INT", "line 1, column 7: expected a column name, found ,"),
        ("a: INT", "line 1, column 2: expected a type, found :"),
        ("1a INT", "line 1, column 1: expected a column name, found 1a"),
        ("a INT, A INT", "line 1, column 8: column A is there twice"),
        ("a STRUCT<b: INT, b: INT>", "line 1, column 18: column b is there twice"),
        ("_offset INT", "line 1, column 1: column _offset: names that begin with `_` are reserved"),
        ("a INT, `_b` INT", "line 1, column 8: column _b: names that begin with `_` are reserved"),
        ("a DECIMAL(39,2)", "line 1, column 11: DECIMAL(p,s) needs 1 <= p <= 38 and s <= p"),
        ("a DECIMAL(2,3)", "line 1, column 11: DECIMAL(p,s)"),
        ("a DECIMAL(0)", "line 1, column 11: DECIMAL(p,s)"),
        ("a DECIMAL(x)", "line 1, column 11: expected a number, found x"),
        ("a DECIMAL(10", "line 1, column 13: expected ), found the end"),
        ("a ARRAY", "line 1, column 8: expected <, found the end"),
        ("a ARRAY<INT", "line 1, column 12: expected >, found the end"),
        ("a MAP<INT, INT>", "line 1, column 7: a map's keys must be STRING"),
        ("a MAP<STRING>", "line 1, column 13: expected ,, found >"),
        ("a STRUCT<>", "line 1, column 10: expected a column name, found >"),
        ("a INT NOT", "line 1, column 10: expected NULL, found the end"),
        ("a INT COMMENT x", "line 1, column 15: expected text, found x"),
        ("é INT", "line 1, column 1: expected a column name, found é"),
        ("a INT; drop table t", "line 1, column 6: expected the end, found ;"),
        ("a TIMESTAMP_NTZ", "(nearest: TIMESTAMP)"),
    ],
)
def test_what_does_not_parse(text: str, why: str) -> None:
    with pytest.raises(SchemaError) as failure:
        parse_ddl(text)
    assert why in str(failure.value)


@pytest.mark.parametrize("depth", [40, 5_000])
def test_depth_has_an_end(depth: int) -> None:
    with pytest.raises(SchemaError, match="nested deeper than 32 levels"):
        parse_ddl("a " + "ARRAY<" * depth + "INT" + ">" * depth)
    with pytest.raises(SchemaError, match="nested deeper than 32 levels"):
        parse_ddl("a " + "STRUCT<a: " * depth + "INT" + ">" * depth)


def test_a_type_alone_has_nothing_behind_it() -> None:
    assert parse_type("DECIMAL(5,1)") == Decimal(5, 1)
    with pytest.raises(SchemaError, match="expected the end, found b"):
        parse_type("INT b")


TYPES = st.recursive(
    st.sampled_from([Scalar(name) for name in SCALARS])
    | st.integers(1, 38).flatmap(lambda p: st.builds(Decimal, st.just(p), st.integers(0, p))),
    lambda inner: (
        st.builds(Array, inner)
        | st.builds(Map, inner)
        | st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: Struct(tuple(Field(f"f{number}", kind, number % 2 == 0) for number, kind in enumerate(kinds)))
        )
    ),
    max_leaves=6,
)


def written(kind: object) -> str:
    if isinstance(kind, Scalar):
        return kind.name
    if isinstance(kind, Decimal):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if isinstance(kind, Array):
        return f"ARRAY<{written(kind.element)}>"
    if isinstance(kind, Map):
        return f"MAP<STRING, {written(kind.value)}>"
    assert isinstance(kind, Struct)
    fields = (f"{field.name}: {written(field.type)}{'' if field.nullable else ' NOT NULL'}" for field in kind.fields)
    return f"STRUCT<{', '.join(fields)}>"


@pytest.mark.parametrize(
    ("known", "names", "expected"),
    [
        (["id"], ["rate"], {"rate": "rate"}),
        (["id", "Rate"], ["rate"], {"rate": "ref_rate"}),
        (["id", "rate"], ["Rate"], {"Rate": "ref_Rate"}),
        (["rate", "ref_rate"], ["rate"], {"rate": "ref_ref_rate"}),
        (["rate"], ["rate", "ref_rate"], {"rate": "ref_rate", "ref_rate": "ref_ref_rate"}),
        ([], ["_matched", "_JOINED"], {"_matched": "ref__matched", "_JOINED": "ref__JOINED"}),
    ],
)
def test_what_comes_has_names_that_there_are_not_yet(
    known: list[str], names: list[str], expected: dict[str, str]
) -> None:
    assert named_beside(known, names) == expected


@given(TYPES)
def test_what_is_written_is_read_back(kind: object) -> None:
    assert parse_type(written(kind)) == kind


@given(st.text() | st.text("aINT<>(),:`_ \nSTRUCARY1"))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with suppress(SchemaError):
        assert parse_ddl(text)
