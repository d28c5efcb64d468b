from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from jobs.core.holder import Holder, parse, this

NOW = datetime(2026, 1, 5, tzinfo=timezone.utc)


def test_this_process_is_there_and_each_instance_is_another() -> None:
    one, other = this(NOW), this(NOW)
    assert not one.is_gone() and one.pid == os.getpid()
    assert one.instance != other.instance and one.machine == other.machine
    assert parse(one.text()) == one


def test_a_process_that_has_ended_is_gone_even_if_nobody_has_asked_how() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ended:
        mine = replace(this(NOW), pid=ended.pid)
        began = Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[19]
        assert not replace(mine, began=began).is_gone()
        assert mine.is_gone()  # the same number, another process
        ended.kill()
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert replace(mine, began=began).is_gone()


def test_of_another_machine_nobody_knows() -> None:
    assert not replace(this(NOW), machine="elsewhere", pid=1 << 30).is_gone()


def test_a_holder_in_words() -> None:
    assert str(Holder("i", "m", "h", 7, "1", "ann", "2026-01-05T00:00:00+00:00")) == (
        "process 7 of ann on h, since 2026-01-05T00:00:00+00:00"
    )
