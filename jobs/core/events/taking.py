"""What a build folds: the events of a log at one version within the bounds; or, onto a snapshot, those that came after it."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import DataFrame

from jobs.core.events.bounds import Bounds, selected
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.snapshots import Snapshot, Snapshots


class Taken(NamedTuple):
    """EVENT; and PARTIAL of a snapshot, where the fold goes on from one."""

    events: DataFrame
    base: DataFrame | None = None
    snapshot: Snapshot | None = None


class Taking:
    """From a log, and from the snapshots of it, if any are kept."""

    def __init__(self, log: PinnedLog, bounds: Bounds, snapshots: Snapshots | None) -> None:
        self._log, self._bounds, self._snapshots = log, bounds, snapshots

    def whole(self) -> Taken:
        return Taken(selected(self._log.events(), self._bounds))

    def newest(self) -> Taken | None:
        """Onto the newest good snapshot; None where the whole log is to be read."""
        found = self._snapshots.newest(self._log.version) if self._snapshots else None
        return self._onto(found) if found else None

    def again(self, base: str | None) -> Taken | None:
        """Onto the snapshot of a name, or onto none, as before; None where that snapshot is gone."""
        if base is None:
            return self.whole()
        found = self._snapshots.named(base) if self._snapshots else None
        return self._onto(found) if found else None

    def _onto(self, snapshot: Snapshot) -> Taken | None:
        new = self._log.since(snapshot.log_version)
        if new is None or self._snapshots is None:
            return None
        base = selected(self._snapshots.partials(snapshot), self._bounds)
        return Taken(selected(new.events, self._bounds), base, snapshot)
