"""The set-up's own decisions: versions, locks, causes of failure, stamps. What it installs is tried by running it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from _lib import classes, jars, needs, places, processes, venv
from _lib.jars import Jar
from _lib.places import SetupFailed


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ('openjdk version "25" 2025-09-16', 25),
        ('IMPLEMENTOR="X"\nJAVA_VERSION="11.0.2"\n', 11),
        ("no such thing", None),
        ("", None),
    ],
)
def test_the_major_version_of_a_java(text: str, version: int | None) -> None:
    assert needs.major(text) == version


def java(folder: Path, version: str, modules: str = "java.base jdk.incubator.vector") -> Path:
    """A Java's folder, as far as the check looks at it."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    (folder / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return folder


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, path = java(tmp_path / "home", "21.0.1"), java(tmp_path / "path", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(path / "bin"))
    assert needs.java() == needs.Java(home / "bin" / "java", home)


def test_a_java_home_that_will_not_do_leaves_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = java(tmp_path / "path", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "home", "1.8.0_392")))
    monkeypatch.setenv("PATH", str(path / "bin"))
    assert needs.java() == needs.Java(path / "bin" / "java", None)


def test_each_java_that_will_not_do_is_named_with_its_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = java(tmp_path / "path", "17.0.15", modules="java.base")
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "home", "11.0.2")))
    monkeypatch.setenv("PATH", str(path / "bin"))
    with pytest.raises(SetupFailed) as refused:
        needs.java()
    assert str(refused.value) == (
        f"Java 17 or newer is needed, but {tmp_path}/home/bin/java is Java 11"
        f" and {path}/bin/java lacks the module jdk.incubator.vector"
    )


def test_no_java_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupFailed, match="Java 17 or newer is needed and none was found"):
        needs.java()


def test_an_old_python_is_refused() -> None:
    with pytest.raises(SetupFailed, match="Python 3.10 or newer is needed, and .* is Python 3.9"):
        needs.python((3, 9))


def test_a_missing_module_names_the_package() -> None:
    with pytest.raises(
        SetupFailed, match=r"no module ensurepip: install it \(Debian: apt-get install python3\.\d+-venv\)"
    ):
        needs.venv({"venv": "there"}.get)


def test_too_little_disk_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match="no/such/folder needs 1e\\+09 GB of free disk, and only "):
        places.room(tmp_path / "no" / "such" / "folder", 1e9)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "no space left on the disk"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "a package is not the one that was locked: its hash differs",
        ),
        (
            "Retrying: Failed to establish a new connection\nERROR: No matching distribution found for x==1",
            "the package index that pip is set to use could not be reached",
        ),
        (
            "ERROR: No matching distribution found for x==1",
            "the package index that pip is set to use does not have a locked package",
        ),
        ("one\nERROR: something else\n\n", "ERROR: something else"),
        ("", "it wrote nothing"),
    ],
)
def test_why_pip_failed(log: str, sentence: str) -> None:
    assert venv.cause(log) == sentence


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("You probably access the destination server through a proxy", "the repository of JARs could not be reached"),
        ("java.io.IOException: No space left on device", "no space left on the disk"),
        (":: a#b;1: not found", "the repository of JARs does not have it"),
    ],
)
def test_why_ivy_failed(log: str, sentence: str) -> None:
    assert jars.cause(log) == sentence


def test_a_set_of_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "jars.txt"
    lock.write_text("# set group:artifact:version sha256\nspark a.b:c_2.13:1.0 11\nkafka d:e:2 22\n\nspark f:g:3 33\n")
    assert jars.locked_jars("spark", lock) == [Jar("a.b", "c_2.13", "1.0", "11"), Jar("f", "g", "3", "33")]
    with pytest.raises(SetupFailed, match="has no set flink"):
        jars.locked_jars("flink", lock)


@pytest.mark.parametrize("name", ["spark", "kafka"])
def test_every_locked_jar_has_a_hash_and_a_file_name_of_its_own(name: str) -> None:
    found = jars.locked_jars(name)
    assert all(len(bytes.fromhex(one.sha256)) == 32 for one in found)
    assert len({one.file for one in found}) == len(found)


def test_a_jar_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c-1.jar"
    file.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(SetupFailed) as refused:
        jars._check(Jar("a", "c", "1", "0" * 64), file, tmp_path / "log")
    assert str(refused.value) == f"JAR a:c:1 is not the locked one: its SHA-256 is {found}, the lock says {'0' * 64}"


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        (
            {"HTTPS_PROXY": "http://user:word@proxy.test:3128"},
            ["-Dhttps.proxyHost=proxy.test", "-Dhttps.proxyPort=3128"],
        ),
        ({"https_proxy": "http://proxy.test"}, ["-Dhttps.proxyHost=proxy.test", "-Dhttps.proxyPort=8080"]),
        ({}, []),
    ],
)
def test_java_is_told_of_the_proxy(environment: dict[str, str], options: list[str]) -> None:
    assert jars.proxy(environment) == options


@pytest.fixture
def unmade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which everything that an environment would need is there, but nothing that makes it."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    monkeypatch.setattr(venv, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(venv, "STAMP", tmp_path / ".venv" / "stamp.json")
    monkeypatch.setattr(venv, "LOG", tmp_path / ".venv-setup.log")
    return tmp_path


def test_only_a_stamped_environment_is_current(unmade: Path) -> None:
    assert not venv._current()
    venv.stamp()
    assert venv._current()


@pytest.mark.parametrize("stamp", ["", "{", '{"packages": "another", "project": "another"}'])
def test_a_stamp_of_something_else_is_not_current(unmade: Path, stamp: str) -> None:
    (unmade / ".venv" / "stamp.json").write_text(stamp)
    assert not venv._current()


@pytest.fixture
def made(unmade: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the set-up would install into `unmade`, by its last argument."""
    commands: list[str] = []
    monkeypatch.setattr(venv, "_run", lambda lock, command, failed: commands.append(Path(command[-1]).name))
    monkeypatch.setattr(venv, "ROOT", unmade)
    monkeypatch.setattr(venv, "wanted", lambda: {"packages": "new", "project": "new"})
    (unmade / ".venv" / "own").touch()
    return commands


LOCKED = ["builders.txt", "requirements.txt"]


def test_an_environment_of_the_users_own_is_completed(unmade: Path, made: list[str]) -> None:
    venv._make(0)
    assert made == [*LOCKED, unmade.name]
    assert (unmade / ".venv" / "own").exists()
    assert venv._current()
    assert not (unmade / ".venv-setup.log").exists()


def test_a_linked_environment_is_left_alone(unmade: Path, made: list[str]) -> None:
    (unmade / ".venv").rename(unmade / "elsewhere")
    (unmade / ".venv").symlink_to(unmade / "elsewhere")
    with pytest.raises(SetupFailed, match="is a link to .*elsewhere: remove the link"):
        venv.ensure()
    assert made == []
    assert (unmade / "elsewhere" / "own").exists()


def test_a_half_made_environment_is_made_again(unmade: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (unmade / ".venv-setup.log").touch()
    monkeypatch.setattr(venv, "stamp", lambda: None)
    venv._make(0)
    assert made == [".venv", *LOCKED, unmade.name]
    assert not (unmade / ".venv").exists()


def test_what_a_killed_copy_left_is_removed(unmade: Path, made: list[str]) -> None:
    (unmade / ".venv-setup-abc" / "build").mkdir(parents=True)
    venv._make(0)
    assert [path.name for path in unmade.iterdir()] == [".venv"]


def test_another_lock_makes_it_again(unmade: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (unmade / ".venv" / "stamp.json").write_text('{"packages": "old", "project": "new"}')
    monkeypatch.setattr(venv, "stamp", lambda: None)
    venv._make(0)
    assert made == [".venv", *LOCKED, unmade.name]
    assert not (unmade / ".venv").exists()


def test_another_project_file_only_installs_the_project(unmade: Path, made: list[str]) -> None:
    (unmade / ".venv" / "stamp.json").write_text('{"packages": "new", "project": "old"}')
    venv._make(0)
    assert made == [unmade.name]
    assert (unmade / ".venv" / "own").exists()
    assert venv._current()


LAUNCHER = """#!/bin/sh
printf 'a warning\\n\\0\\n%s\\0-Dquick\\0-cp\\0/conf:/spark/jars/*\\0Submit\\0' "$0"
"""


def program(folder: Path, text: str) -> Path:
    made = folder / "java"
    made.write_text(text)
    made.chmod(0o755)
    return made


def test_classes_are_archived_with_jars_alone_on_the_class_path(tmp_path: Path) -> None:
    java = program(tmp_path, LAUNCHER)
    environment = {"SPARK_HOME": "/spark", "PATTERNS_JARS": "a.jar"}
    command = classes._command(java, environment, "-Dquick", "/work")
    assert command == [str(java), "-Dquick", "-cp", "/spark/jars/*", "Submit"]


def test_a_launcher_that_failed_is_quoted(tmp_path: Path) -> None:
    java = program(tmp_path, "#!/bin/sh\necho 'no such class' >&2\nexit 1\n")
    with pytest.raises(SetupFailed, match=r"Spark's launcher failed: no such class"):
        classes._command(java, {"SPARK_HOME": "/spark", "PATTERNS_JARS": ""}, "", "/work")


@pytest.mark.parametrize("written", [False, True])
def test_classes_that_could_not_be_archived_leave_a_log_and_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """What another Java has left goes in any case."""
    (tmp_path / "classes-old.jsa").touch()
    monkeypatch.setattr(classes.venv, "VENV", tmp_path)
    monkeypatch.setattr(classes, "_command", lambda java, environment, options, work: _archiving(options, written))
    java = program(tmp_path, "#!/bin/sh\n")
    made = classes.ensure(java, {})
    assert (made is not None, classes.ensure(java, {})) == (written, made)
    assert [path.suffix for path in tmp_path.glob("classes-*")] == [".jsa" if written else ".log"]


def _archiving(options: str, written: bool) -> list[str]:
    """What writes the archive that the options name, or does not."""
    part = options.rpartition("=")[2]
    return ["touch", part] if written else ["true"]


def test_ports_differ() -> None:
    assert len(set(processes.free_ports(20))) == 20


def test_a_process_is_known_by_its_start_time_too() -> None:
    mine = processes.start_time(os.getpid())
    assert processes.Process(os.getpid(), mine or "").alive
    assert not processes.Process(os.getpid(), "another time").alive


def test_a_signal_reaches_all_below_in_sessions_of_their_own_too() -> None:
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'], start_new_session=True).wait()"
    top = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE)
    process = processes.Process(top.pid, processes.start_time(top.pid) or "")
    assert processes.until(lambda: bool(processes.below(top.pid)), 20)
    (pid,) = processes.below(top.pid)
    process.signal(signal.SIGKILL)
    assert top.wait(20) == -signal.SIGKILL
    assert processes.until(lambda: processes.start_time(pid) is None, 20)


def test_a_stopped_process_is_known() -> None:
    asleep = subprocess.Popen(["sleep", "60"])
    try:
        assert not processes.is_stopped(asleep.pid)
        asleep.send_signal(signal.SIGSTOP)
        assert processes.until(lambda: processes.is_stopped(asleep.pid), 10)
    finally:
        asleep.kill()
        asleep.wait()
    assert not processes.is_stopped(asleep.pid)


def test_a_thread_stops_its_own_process_by_way_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent to the process, another thread may take the signal, and the one that sent it would run on meanwhile."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(processes, "below", lambda pid: [])
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("sent to the process"))
    monkeypatch.setattr(signal, "pthread_kill", lambda *to: sent.append(to))
    processes.Process(os.getpid(), "").signal(signal.SIGSTOP)
    assert sent == [(threading.get_ident(), signal.SIGSTOP)]


def test_a_process_that_ended_is_not_alive() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    started = processes.start_time(ended.pid) or ""
    ended.wait()
    assert not processes.Process(ended.pid, started).alive


@pytest.mark.parametrize(
    ("text", "kind"),
    [("java.net.BindException: Address already in use", processes.PortTaken), ("no memory", processes.ServerFailed)],
)
def test_a_server_that_failed_shows_the_end_of_its_own_log(tmp_path: Path, text: str, kind: type) -> None:
    log = tmp_path / "server.log"
    log.write_text(f"of an earlier start: Address already in use\n{text}\n\tat a.frame(Of.java:1)\n")
    failure = processes.failed("it did not start", log, len("of an earlier start: Address already in use\n"))
    assert type(failure) is kind
    assert str(failure) == f"it did not start (log: {log}):\n{text}"
