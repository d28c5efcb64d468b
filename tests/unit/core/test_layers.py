"""From layers to one config: what wins, who set it, and every way in which it is refused before Spark starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from _configs import SECRETS, VALID, Config, config, loaded, problems, told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.core import layers
from jobs.core.config import JobConfig
from jobs.core.errors import ConfigError, Problem
from jobs.core.keys import walk
from jobs.core.layers import CONF, load, merge, origins
from jobs.core.yaml_files import Leaf, Tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """defaults < job < env, each with one key that the next one sets too."""
    (tmp_path / "env").mkdir()
    (tmp_path / "defaults.yaml").write_text("scaling: {min_partitions: 1, coalesce: 1, shuffle_partitions: 1}\n")
    (tmp_path / "job.yaml").write_text(VALID + "scaling:\n  coalesce: 2\n  shuffle_partitions: 2\n")
    (tmp_path / "env" / "tiny.yaml").write_text("scaling: {shuffle_partitions: 3, max_offsets_per_trigger: 3}\n")
    (tmp_path / "env" / "huge.yaml").write_text("scaling: {shuffle_partitions: 900}\n")
    return tmp_path


def test_each_layer_goes_over_the_one_before(folder: Path) -> None:
    environ = {**SECRETS, "PATTERNS__SCALING__MAX_OFFSETS_PER_TRIGGER": "4", "patterns__Source__kafka__TOPIC": "t4"}
    found = load(Config, folder / "job.yaml", "tiny", ["source.kafka.topic=t5"], environ, folder)
    scaling = found.config.scaling
    assert (scaling.min_partitions, scaling.coalesce, scaling.shuffle_partitions) == (1, 2, 3)
    assert (scaling.max_offsets_per_trigger, found.config.source.kafka.topic) == (4, "t5")  # type: ignore[union-attr]
    assert {key: origin for key, origin in found.origins.items() if key.startswith(("scaling", "source.kafka"))} == {
        "scaling.min_partitions": f"{folder}/defaults.yaml:1",
        "scaling.coalesce": f"{folder}/job.yaml:17",
        "scaling.shuffle_partitions": f"{folder}/env/tiny.yaml:1",
        "scaling.max_offsets_per_trigger": "environment variable PATTERNS__SCALING__MAX_OFFSETS_PER_TRIGGER",
        "source.kafka.topic": "--set source.kafka.topic",
    }


def test_maps_merge_and_everything_else_replaces() -> None:
    def leaf(value: Any) -> Leaf:
        return Leaf(value, "x")

    lower: Tree = {"a": {"b": leaf(1), "c": leaf([1, 2])}, "d": {"e": leaf(1)}, "f": leaf(1)}
    upper: Tree = {"a": {"c": leaf([3])}, "d": leaf(None), "f": {"g": leaf(2)}}
    assert merge(lower, upper) == {"a": {"b": leaf(1), "c": leaf([3])}, "d": leaf(None), "f": {"g": leaf(2)}}


def test_a_mounted_secret_has_one_origin() -> None:
    tree: Tree = {"db": {"password": {"file": Leaf("/x", "x.yaml:3")}}}
    assert origins(tree, frozenset({("db", "password")})) == {"db.password": "x.yaml:3"}


def test_a_folder_of_ones_own_needs_no_defaults(tmp_path: Path) -> None:
    assert config(tmp_path).job == "enrich"


def test_the_file_is_named_after_the_job(folder: Path) -> None:
    assert load(Config, conf_dir=folder, environ=SECRETS, default_name="job").config.job == "enrich"
    with pytest.raises(ConfigError, match=r"_configs[.]yaml: there is no such file"):
        load(Config, conf_dir=folder, environ=SECRETS)


def test_where_configs_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PATTERNS_CONF_DIR", raising=False)
    assert layers.conf_dir() == CONF
    (tmp_path / "conf").mkdir()
    assert layers.conf_dir() == CONF
    (tmp_path / "conf" / "mine.yaml").write_text("job: mine")
    assert layers.conf_dir() == Path("conf")
    monkeypatch.setenv("PATTERNS_CONF_DIR", "/elsewhere")
    assert layers.conf_dir() == Path("/elsewhere")


# --- values from outside --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("PATTERNS__KAFKA__OPTIONS__max.poll.records", "7", "kafka.options.max.poll.records", "7"),
        ("PATTERNS__SOURCE__REQUIRED", "[order_id]", "source.required", ["order_id"]),
        ("PATTERNS__SCALING", "{min_partitions: 7}", "scaling.min_partitions", 7),
        ("PATTERNS__SOURCE__KAFKA__TOPIC", "007", "source.kafka.topic", "007"),
        ("PATTERNS__POSTGRES__USER", "${HOME}", "postgres.user", "${HOME}"),
        ("PATTERNS__REFERENCE__MAX_STALENESS", "null", "reference.max_staleness", None),
        ("PATTERNS_JARS", "not a setting", "job", "enrich"),
    ],
)
def test_environment_variables(tmp_path: Path, name: str, text: str, path: str, value: Any) -> None:
    found: Any = loaded(tmp_path, environ={name: text}).config.model_dump(by_alias=True)
    for key in path.split(".", 2) if "options" in path else path.split("."):
        found = found[key]
    assert found == value


@pytest.mark.parametrize(
    "text", ["{[*&! not yaml", "12345", "null", "true", "pass word", "${NOT_A_VARIABLE}", "'quoted'"]
)
def test_a_secret_from_a_variable_is_taken_letter_by_letter(tmp_path: Path, text: str) -> None:
    found = loaded(tmp_path, environ={"PATTERNS__POSTGRES__PASSWORD": text}).config.postgres
    assert found
    assert found.password
    assert found.password.get_secret_value() == text


def test_a_secret_from_a_mounted_file(tmp_path: Path) -> None:
    (tmp_path / "mounted").write_text("from-file\n")
    text = VALID.replace('"${POSTGRES_PASSWORD}"', f"{{file: {tmp_path}/mounted}}")
    found = loaded(tmp_path, text=text)
    assert found.config.postgres
    assert found.config.postgres.password
    assert found.config.postgres.password.get_secret_value() == "from-file"
    assert found.origins["postgres.password"] == f"{tmp_path}/job.yaml:3"
    assert "from-file" not in found.show()


def test_a_variable_that_a_later_layer_replaces_need_not_be_set(tmp_path: Path) -> None:
    text = VALID.replace("topic: orders}", 'topic: "${NOT_SET}"}')
    assert config(tmp_path, "source.kafka.topic=orders", text=text).job == "enrich"


# --- the schema travels ---------------------------------------------------------------------------------------------


def test_a_schema_file_becomes_its_text(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "order.ddl").write_text("order_id STRING, -- its id\ncustomer_id STRING\n")
    found = config(tmp_path, "source.schema=schemas/order.ddl")
    assert found.source.schema_ == "order_id STRING, -- its id\ncustomer_id STRING\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [("nope.ddl", "there is no such file"), ("../x.ddl", "a path without `..`"), ("job.ddl", "text in UTF-8")],
)
def test_a_schema_file_that_cannot_be_used(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "job.ddl").write_bytes(b"\xff")
    path, value, allowed = told(tmp_path, f"source.schema={name}")
    assert (path, value) == ("source.schema", name)
    assert allowed == f"DDL, or a .ddl file in {tmp_path}: {why}" or why in allowed


# --- refused: files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "path", "line", "hint"),
    [
        (None, "", "", "there is no such file"),
        ("", "", "", "empty"),
        (f"{VALID}# {'x' * (1 << 20)}", "", "", "at most 1048576 bytes"),
        ("job: [", "", ":1", "YAML: "),
        (f"{VALID}job: again\n", "job", ":16", "each key once: it stands on line 1 already"),
        (f"{VALID}x: !!python/object/apply:os.system [id]\n", "x", ":16", "no tags"),
        ("a: &a [x]\nb: &b [*a, *a]\n", "a", ":1", "no anchors and aliases"),
        ("- job\n", "", ":1", "a map of settings at the top"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: str | None, path: str, line: str, hint: str) -> None:
    file = tmp_path / "job.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as failure:
        load(Config, file, None, (), SECRETS, tmp_path)
    (problem,) = failure.value.problems
    assert failure.value.exit_code == 2
    assert (problem.path, problem.origin) == (path, f"{file}{line}")
    assert hint in problem.allowed


def test_what_is_wrong_with_several_layers_is_told_together(folder: Path) -> None:
    (folder / "defaults.yaml").write_text("a: [")
    (folder / "job.yaml").unlink()
    environ = {"PATTERNS__JOB": "", "PATTERNS__SOURCE": "{"}
    with pytest.raises(ConfigError) as failure:
        load(Config, folder / "job.yaml", "nope", ["x", "a=[", "job="], environ, folder)
    assert [problem.origin for problem in failure.value.problems] == [
        f"{folder}/defaults.yaml:1",
        f"{folder}/job.yaml",
        "--env",
        "environment variable PATTERNS__JOB",
        "environment variable PATTERNS__SOURCE:1",
        "--set",
        "--set a:1",
        "--set job",
    ]


# --- refused: values, each named with its path, its value and what is allowed -----------------------------------------


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("source.kafka.topik=x", "unknown key; nearest: source.kafka.topic"),
        ("source.topic=x", "known as source.kafka.topic and source.late.to.kafka.topic"),
        ("source.kafka.failOnDataLoss=maybe", "unknown key; known here: topic, topic_pattern"),
        ("scaling.max_offsets_per_trigger=-5", "at least 1"),
        ("scaling.coalesce=0", "at least 1"),
        ("source.kafka.starting_offsets=sometime", "earliest, latest, or {topic:"),
        ("trigger.every=10 parsecs", "500ms, 30s, 10m, 1h, 1d"),
        ("reference.refresh.every=-1s", "500ms, 30s, 10m, 1h, 1d"),
        ("source.max_record_bytes=1 parsec", "1048576, 64KiB, 1MiB, 1GiB"),
        ("reference.jdbc.table=t; drop table t", "letters, digits and _ only"),
        ("reference.jdbc.table=(select 1) x", "letters, digits and _ only"),
        ("sink.delta.path=../x", "a path without `..`"),
        ("checkpoint=data/enriched", "a folder apart from sink.delta.path (data/enriched)"),
        ("dead_letters.kafka.topic=orders", "a topic that the source does not read"),
        ("postgres.user=${NO_SUCH_VAR}", "the environment variable NO_SUCH_VAR to be set"),
        ("postgres.user=${EMPTY_VAR}", "the environment variable EMPTY_VAR to be set"),
        ("postgres.url=jdbc:postgresql://h/d?p=${POSTGRES_PASSWORD}", "no secret: POSTGRES_PASSWORD"),
        ("postgres.options.socketFactory=org.x.Y", "not one of the properties that may be set"),
        ("postgres.url=jdbc:postgresql://localhost:70000/db", "a port from 1 to 65535"),
        ("kafka.bootstrap_servers=localhost:0", "each port from 1 to 65535"),
        ("source.kafka.topic=a/b", "a topic's name: 1 to 249"),
        ("dead_letters.kafka.topic=..", "a topic's name: 1 to 249"),
        ("source.schema=order_id STRNG", "line 1, column 10: expected a type, found STRNG (nearest: STRING)"),
        ("trigger.once=true", "use available_now: true"),
        ("job=", "not empty: say null to unset it"),
    ],
)
def test_what_is_refused(tmp_path: Path, override: str, hint: str) -> None:
    path, _, value = override.partition("=")
    refused(tmp_path, override, path, value, hint)


@pytest.mark.parametrize(
    ("override", "path", "value", "hint"),
    [
        ("sorce.x=1", "sorce", "", "unknown key; nearest: source"),
        (
            "source.kafka.starting_offsets={orders: {0: -3}}",
            "source.kafka.starting_offsets",
            "",
            "earliest, latest, or {topic:",
        ),
        ("postgres.password=hunter2-canary", "postgres.password", "********", "never written out"),
        ("postgres.password={value: hunter2-canary}", "postgres.password", "********", "never written out"),
        (
            "postgres.url=jdbc:postgresql://u:hunter2-canary@h/db",
            "postgres.url",
            "jdbc:postgresql://********@h/db",
            "without user and password",
        ),
        (
            "postgres.url=jdbc:postgresql://h/db?password=hunter2-canary",
            "postgres.url",
            "jdbc:postgresql://h/db?password=********",
            "without user",
        ),
        (
            "sink.delta.path=s3a://key:hunter2-canary@b/x",
            "sink.delta.path",
            "s3a://********@b/x",
            "without user and password",
        ),
        (
            "postgres.options.password=hunter2-canary",
            "postgres.options.password",
            "********",
            "not one of the properties that may be set",
        ),
        (
            "kafka.options.sasl.jaas.config=com.sun.security.auth.module.JndiLoginModule required;",
            "kafka.options.sasl.jaas.config",
            "********",
            "not one of",
        ),
        (
            "kafka.options.sasl.jaas.config=com.sun.security.auth.module.LdapLoginModule required;",
            "kafka.options.sasl.jaas.config",
            "********",
            "not one of",
        ),
        ("spark.spark.ssl.keyPassword=hunter2-canary", "spark.spark.ssl.keyPassword", "********", "no secrets here"),
        ("source.kafka.topic_pattern=x.*", "source.kafka", "", "exactly one of topic, topic_pattern"),
        (
            "kafka.security={protocol: SSL, truststore: /nowhere/t.jks}",
            "kafka.security.truststore",
            "/nowhere/t.jks",
            "a file that can be read",
        ),
        ("source.schema=order_id STRING", "join.on.customer_id", "customer_id", "a column of the schema: order_id"),
        ("just-a-word", "", "just-a-word", "--set key=value"),
        ("=x", "", "=x", "--set key=value"),
        ("a..b=x", "", "a..b=x", "--set key=value"),
        ("postgres.password:hunter2-canary", "", "********", "--set key=value"),
    ],
)
def test_what_is_refused_and_shown_otherwise(tmp_path: Path, override: str, path: str, value: str, hint: str) -> None:
    refused(tmp_path, override, path, value, hint)


def refused(folder: Path, override: str, path: str, value: str, hint: str) -> None:
    (problem,) = problems(folder, override, environ={"EMPTY_VAR": ""})
    assert (problem.path, problem.value) == (path, value)
    assert hint in problem.allowed
    assert problem.origin.startswith(("--set", f"{folder}/job.yaml:"))


def test_the_same_in_a_file_names_file_and_line(tmp_path: Path) -> None:
    text = VALID.replace("topic: orders}", "topic: a b}")
    assert problems(tmp_path, text=text) == (
        Problem(
            "source.kafka.topic",
            "a b",
            "a topic's name: 1 to 249 of a-z A-Z 0-9 . _ -, and not . or ..",
            f"{tmp_path}/job.yaml:5",
        ),
    )


def test_the_same_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, environ={"PATTERNS__SORCE__TOPIC": "x"})
    assert problem == Problem(
        "sorce", "", "unknown key; nearest: source", "environment variable PATTERNS__SORCE__TOPIC"
    )


def test_a_secret_literal_is_refused_even_where_a_later_layer_replaces_it(tmp_path: Path) -> None:
    text = VALID.replace('"${POSTGRES_PASSWORD}"', "hunter2-canary")
    environ = {"PATTERNS__POSTGRES__PASSWORD": "other"}
    assert problems(tmp_path, text=text, environ=environ) == (
        Problem(
            "postgres.password",
            "********",
            "a secret: ${VARIABLE}, an environment variable, or {file: /path}; never written out",
            f"{tmp_path}/job.yaml:3",
        ),
    )


def test_a_default_of_a_secret_is_a_literal(tmp_path: Path) -> None:
    text = VALID.replace("${POSTGRES_PASSWORD}", "${POSTGRES_PASSWORD:-hunter2-canary}")
    assert told(tmp_path, text=text)[:2] == ("postgres.password", "********")


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    wrong = [
        "source.kafka.topic=a b",
        "sink.delta.path=../x",
        "postgres.password=x",
        "postgres.user=${NOPE}",
        "jobb=1",
        "trigger.every=x",
    ]
    found = problems(tmp_path, *wrong)
    assert [problem.path for problem in found] == [
        "postgres.password",
        "postgres.user",
        "source.kafka.topic",
        "sink.delta.path",
        "trigger.every",
        "jobb",
    ]


def test_a_key_that_is_missing_is_named_with_the_file(tmp_path: Path) -> None:
    text = VALID.replace("job: enrich\n", "").replace("checkpoint: data/checkpoint\n", "")
    file = f"{tmp_path}/job.yaml"
    assert problems(tmp_path, text=text) == (
        Problem("job", "", "required, and not set", file),
        Problem("checkpoint", "", "required, and not set", file),
    )


@pytest.mark.parametrize(("env", "shown"), [("nope", "nope"), ("../job", "../job"), ("", "''")])
def test_an_unknown_environment_names_the_known_ones(folder: Path, env: str, shown: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load(Config, folder / "job.yaml", env, (), SECRETS, folder)
    assert failure.value.problems == (Problem("", shown, f"an environment that {folder}/env has: huge, tiny", "--env"),)


def test_a_job_without_a_reference_takes_no_reference(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(VALID)
    with pytest.raises(ConfigError) as failure:
        load(JobConfig, tmp_path / "job.yaml", None, (), SECRETS, tmp_path)
    assert [(problem.path, problem.allowed.partition(";")[0]) for problem in failure.value.problems] == [
        ("reference", "unknown key"),
        ("join", "unknown key"),
    ]


# --- show -----------------------------------------------------------------------------------------------------------


def test_every_value_is_shown_with_its_layer_and_secrets_masked(tmp_path: Path) -> None:
    schema = "source.schema=customer_id INT,\n  b STRING"
    text = loaded(tmp_path, "source.required=[b]", "reference.max_staleness=null", schema).show()
    rows = (row.rpartition("  # ") for row in text.splitlines())
    told = {setting.rstrip(): origin for setting, _, origin in rows}
    assert SECRETS["POSTGRES_PASSWORD"] not in text
    expected = {
        "job = enrich": f"{tmp_path}/job.yaml:1",
        "postgres.password = ********": f"{tmp_path}/job.yaml:3",
        "source.format = json": "built-in default",
        'source.required = ["b"]': "--set source.required",
        "source.schema = customer_id INT, b STRING": "--set source.schema",
        "reference.max_staleness = null": "--set reference.max_staleness",
        "trigger.every = 5s": "built-in default",
    }
    assert {key: told.get(key) for key in expected} == expected
    assert not [key for key in told if key.startswith(("sink.console", "source.rate"))]


# --- anything at all ------------------------------------------------------------------------------------------------

ODD = [
    "${X}",
    "${",
    "$${",
    "a.ddl",
    "..",
    "1s",
    "earliest",
    "kafka",
    "*",
    "jdbc:postgresql://h/d",
    "file:///x",
    "s3a://b/x",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(ODD)
KEYS = st.sampled_from(sorted({key for path, _ in walk(Config) for key in path}))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_loaded_or_refused(folder: Path, text: str) -> None:
    (folder / "job.yaml").write_text(text, "utf-8", errors="replace")
    failure = failure_of(folder)
    found = failure.problems if failure else ()
    assert all(problem.allowed and problem.origin for problem in found)
    str(failure).encode("utf-8")  # what is told can be written


def failure_of(folder: Path) -> ConfigError | None:
    try:
        load(Config, folder / "job.yaml", None, (), {"X": "x"}, folder).show().encode("utf-8")
    except ConfigError as failure:
        return failure
    return None


@FUZZ
@given(st.text() | st.text(st.sampled_from("job:kafk{}[]&*!|>'\"%@`#,-? \n\t\\")))
def test_any_text_is_loaded_or_refused(tmp_path: Path, text: str) -> None:
    is_loaded_or_refused(tmp_path, text)


@FUZZ
@given(st.dictionaries(KEYS, TREES, max_size=8))
def test_any_map_is_loaded_or_refused(tmp_path: Path, tree: dict[str, Any]) -> None:
    is_loaded_or_refused(tmp_path, yaml.safe_dump(tree, allow_unicode=True))


@FUZZ
@given(st.data())
def test_a_right_config_with_anything_in_one_place_is_loaded_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    tree = yaml.safe_load(VALID.replace("{on:", "{'on':").replace("  on:", "  'on':"))
    group = tree
    for _ in range(data.draw(st.integers(0, 2))):
        inner = [value for value in group.values() if isinstance(value, dict)]
        group = data.draw(st.sampled_from(inner)) if inner else group
    group[data.draw(st.sampled_from(sorted(group)) | KEYS)] = data.draw(TREES)
    is_loaded_or_refused(tmp_path, yaml.safe_dump(tree, allow_unicode=True))
