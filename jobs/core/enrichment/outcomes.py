"""What becomes of a row for which a step had something, or nothing: a state, defaults, and a reason where the step says so.

`_state` of a row is fresh, cached or stale as the step says; default or missed where it had nothing (`core.enrichment.steps`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.core.enrichment.asking import DETAIL, STATE
from jobs.core.enrichment.settings import Step
from jobs.core.errors import ConfigError, Problem
from jobs.core.reasons import INSTEAD, WAITING, Reason

OF_MISSES = {"dead_letter": Reason.NO_REFERENCE.value, "wait": WAITING}
OF_FAILURES = {"dead_letter": Reason.NO_ANSWER.value, "wait": WAITING}


def judged(
    joined: DataFrame, name: str, step: Step, names: list[str], too_old: Mapping[str, Column] = MappingProxyType({})
) -> DataFrame:
    """DECODED with a step's columns, STATE and DETAIL -> DECODED with STATE, defaults, and a reason where the step says so.

    A column that is `too_old` in a row has nothing there, whatever the others have. Raises ConfigError for a default of a
    column that the step does not bring.
    """
    for column in step.default:
        if column not in names:
            raise ConfigError(Problem(f"enrich.{name}.default.{column}", "", f"one of {', '.join(names)}", "conf"))
    on_failure = step.lookup.on_failure if step.lookup else "keep"
    missed, unfit, failed = (F.col(STATE) == state for state in ("missed", "unfit", "failed"))
    reason = (
        F.when(missed, F.lit(OF_MISSES.get(step.on_miss)))
        .when(failed, F.lit(OF_FAILURES.get(on_failure)))
        .when(unfit, F.lit(OF_FAILURES.get("dead_letter" if on_failure == "stand" else on_failure)))
    )
    is_new = F.col("_reason").isNull() & reason.isNotNull()
    detail = F.concat(F.lit(f"{name}: "), F.coalesce(F.col(DETAIL), F.lit(f"no row for {', '.join(step.on)}")))
    has_none = missed | unfit | failed
    types = {column: joined.schema[column].dataType for column in names}
    filled = {
        column: F.when(
            has_none | too_old.get(column, F.lit(False)),
            F.expr(step.default.get(column, "NULL")).try_cast(types[column]),
        ).otherwise(F.col(column))
        for column in {**step.default, **too_old}
    }
    known = F.col(INSTEAD) if INSTEAD in joined.columns else nothing()
    in_vain = F.when(missed, OF_MISSES["dead_letter"]).otherwise(OF_FAILURES["dead_letter"])
    instead = F.when(is_new & (reason == WAITING), in_vain)
    told = {
        **({INSTEAD: F.coalesce(known, instead)} if step.waits else {}),
        "_reason": F.coalesce("_reason", reason),
        "_detail": F.when(is_new, detail).otherwise(F.col("_detail")),
        STATE: F.when(has_none, F.lit("default" if step.default else "missed")).otherwise(F.col(STATE)),
    }
    return joined.withColumns({**filled, **told}).drop(DETAIL)


def nothing() -> Column:
    return F.lit(None).cast("string")
