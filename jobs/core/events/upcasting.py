"""Old events as if they had been written today: a chain of small steps from schema version to schema version.

    chain = Chain(
        current={"user_created": 2},
        steps=[Step("user_created", 1, split_name)],          # version 1 -> version 2
    )
    chain.upcast("user_created", 1, {"name": "Ann Lee"})      # Upcast("user_created", 2, {"first": "Ann", "last": "Lee"})

The log is never changed: a chain is applied whenever an event is read. A step may also give the event another type (`to`).
What the reader does not know is answered by policy: a Rejection with UNKNOWN_TYPE or UNKNOWN_VERSION, or the event as it
is. A chain that cannot lead from every old version to the current one is refused when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jobs.core.decode_plan import MAX_DETAIL, Rejection
from jobs.core.errors import JobError
from jobs.core.reasons import Reason

Data = dict[str, Any]
Policy = Literal["reject", "pass"]
Version = tuple[str, int]  # type, schema version


@dataclass(frozen=True)
class Step:
    """From one version to the next; `change` gets a copy of the data (of its first level) and gives back all of it."""

    event_type: str
    schema_version: int
    change: Callable[[Data], Mapping[str, Any]]
    to: Version | None = None  # where it leads if not to the next version of the same type

    @property
    def source(self) -> Version:
        return self.event_type, self.schema_version

    @property
    def target(self) -> Version:
        return self.to or (self.event_type, self.schema_version + 1)


class Upcast(NamedTuple):
    event_type: str
    schema_version: int
    data: Data


class ChainRefused(ValueError):
    """The steps do not make a chain; `faults` are all that is wrong."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class UpcastFailed(JobError):
    """A step could not change an event: the step is at fault, or the event's data are not what their version says."""

    def __init__(self, event_type: str, schema_version: int, cause: str) -> None:
        super().__init__(f"upcasting {event_type} from version {schema_version}: {cause}")
        self.event_type, self.schema_version, self.cause = event_type, schema_version, cause

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it can leave a worker of Spark."""
        return type(self), (self.event_type, self.schema_version, self.cause)


class Chain:
    """The types that a reader has, each with its current schema version, and the steps that lead there."""

    def __init__(
        self,
        current: Mapping[str, int],
        steps: Iterable[Step] = (),
        unknown_type: Policy = "reject",
        unknown_version: Policy = "reject",
    ) -> None:
        """Raises ChainRefused for a hole, a loop, or two steps from one version."""
        steps = list(steps)
        self.current, self._steps = dict(current), {step.source: step for step in steps}
        self._policies = {Reason.UNKNOWN_TYPE: unknown_type, Reason.UNKNOWN_VERSION: unknown_version}
        self._types = {*self.current, *(step.event_type for step in steps)}
        faults = [*_doubles(steps), *_holes(self.current, self._steps), *_loops(self._steps)]
        if faults:
            raise ChainRefused(faults)

    def upcast(self, event_type: str, schema_version: int, data: Mapping[str, Any]) -> Upcast | Rejection:
        """The event in its current version. Raises UpcastFailed."""
        found = Upcast(event_type, schema_version, dict(data))
        while self.current.get(found.event_type) != found.schema_version:
            step = self._steps.get(found[:2])
            if step is None:
                return self._unknown(found)
            found = Upcast(*step.target, _changed(step, found.data))
        return found

    def _unknown(self, event: Upcast) -> Upcast | Rejection:
        name, version = event.event_type, event.schema_version
        if name not in self._types:
            reason, detail = Reason.UNKNOWN_TYPE, f"event type {name[:100]}"
        else:
            newest = max([version for kind, version in self._known() if kind == name])
            reason, detail = Reason.UNKNOWN_VERSION, f"{name} has no version {version}, the newest is {newest}"
        return event if self._policies[reason] == "pass" else Rejection(reason, detail[:MAX_DETAIL])

    def _known(self) -> Iterator[Version]:
        yield from self.current.items()
        yield from self._steps


def _changed(step: Step, data: Data) -> Data:
    try:
        changed = step.change(data)
    except Exception as failure:
        raise UpcastFailed(*step.source, f"{type(failure).__name__}: {failure}") from failure
    if not isinstance(changed, Mapping):
        raise UpcastFailed(*step.source, f"the step gave back a {type(changed).__name__}, and no object")
    return dict(changed)


def _doubles(steps: list[Step]) -> Iterator[str]:
    sources = [step.source for step in steps]
    for source in dict.fromkeys(source for source in sources if sources.count(source) > 1):
        yield f"two steps from {_named(source)}"


def _holes(current: Mapping[str, int], steps: Mapping[Version, Step]) -> Iterator[str]:
    """Versions from which nothing leads on, and steps that nothing needs."""
    wanted = [(name, version) for name, newest in current.items() for version in range(1, newest)]
    reached = [step.target for step in steps.values() if step.target not in current.items()]
    for version in dict.fromkeys([*wanted, *reached]):
        if version not in steps:
            yield f"no step from {_named(version)}"
    for source in steps:
        if current.get(source[0], source[1] + 1) <= source[1]:
            yield f"a step from {_named(source)}, and the current one is {current[source[0]]}"


def _loops(steps: Mapping[Version, Step]) -> Iterator[str]:
    told: set[Version] = set()
    for source in steps:
        seen: list[Version] = []
        while source in steps and source not in seen:
            seen.append(source)
            source = steps[source].target
        if source in seen and not told & {*seen}:
            told |= {*seen}
            yield f"a loop: {' -> '.join(map(_named, [*seen[seen.index(source) :], source]))}"


def _named(version: Version) -> str:
    return f"{version[0]} version {version[1]}"
