"""A lease in files, beside the ledger: for every sink that is not a database.

<term>.json   epoch and holder; terms are numbered, and each is written once, in one step, so only one instance has it
<term>.alive  written again at each renewal; its time is the file system's own
<term>.free   it was given back
"""

from __future__ import annotations

import json

from pyspark.sql import SparkSession

from jobs.core.files import Folder
from jobs.core.holder import Holder, parse
from jobs.core.lease import Seen


class FileRegister:
    """The lease in one folder."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self._folder = Folder(spark, path)
        self._mine: int | None = None

    def look(self) -> Seen | None:
        times = {info.name: info.modified_ms for info in self._folder.list()}
        term = _newest(list(times))
        if term is None:
            return None
        found = json.loads(self._folder.read(_name(term, "json")))
        holder = parse(found["holder"])
        sign = f"{term} {times.get(_name(term, 'alive'))}"
        return Seen(holder, found["epoch"], sign, _name(term, "free") in times, holder.is_gone())

    def claim(self, before: Seen | None, holder: Holder, epoch: int) -> bool:
        term = int(before.sign.split()[0]) + 1 if before else 0
        try:
            self._folder.write(_name(term, "json"), json.dumps({"epoch": epoch, "holder": holder.text()}))
        except FileExistsError:
            return False
        self._mine = term
        if not self.renew():
            return False
        self._forget(before=term - 1)
        return True

    def renew(self) -> bool:
        """The look for a newer term comes last: what is renewed in vain harms nobody."""
        assert self._mine is not None, "only a lease that was taken is renewed"
        self._folder.replace(_name(self._mine, "alive"), "")
        return self._is_mine()

    def give_back(self) -> None:
        """Of a term that is over, this says nothing: only the newest one counts."""
        if self._mine is not None:
            self._folder.replace(_name(self._mine, "free"), "")

    def _is_mine(self) -> bool:
        return _newest([info.name for info in self._folder.list()]) == self._mine

    def _forget(self, before: int) -> None:
        """Terms that are long over; the one before stays, for those who look right now."""
        for info in self._folder.list():
            if int(info.name.split(".")[0]) < before:
                self._folder.delete(info.name)


def _newest(names: list[str]) -> int | None:
    return max((int(name.split(".")[0]) for name in names if name.endswith(".json")), default=None)


def _name(term: int, kind: str) -> str:
    return f"{term:020d}.{kind}"
