"""An agent: a pure step over the batches of one topic, and the register of all agents.

`@agent` leaves `step` a plain function and registers it once; the worker, the contract suite, the
metrics and `gridloom topics` all read that register. A step has no clock, no random and no I/O:
the same state and the same batch give the same bytes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import pyarrow as pa

from kernels.growth import Growth
from schemas import DEAD_LETTER, REASONS, Topic
from streams.registry import RegistryView


class Part(NamedTuple):
    """One message of a batch that was made from several: its offset and Kafka timestamp."""

    offset: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One message of a batch topic, decoded; `registry` is the registry as of registry_offset.

    Of a stage that gathers, also several consecutive messages of one registry offset: `parts` says
    which, offset and timestamp_ms are the last one's; `lengths` counts the rows of each.
    """

    topic: Topic
    partition: int
    offset: int
    rows: pa.RecordBatch
    registry: RegistryView
    registry_offset: int = -1
    timestamp_ms: int = 0
    parts: Sequence[Part] = ()
    lengths: Callable[[], Sequence[int]] | None = None

    @property
    def place(self) -> str:
        """Offset of the message, or first and last offset of several: `7` or `5-7`."""
        return f"{self.parts[0].offset}-{self.offset}" if self.parts else str(self.offset)

    def sources(self, rows: Sequence[int]) -> list[tuple[Part, int]]:
        """Where these rows came from: the message of each, and its row within that."""
        if self.lengths is None:
            return [(Part(self.offset, self.timestamp_ms), row) for row in rows]
        ends = [0, *accumulate(self.lengths())]
        places = [bisect_right(ends, row) - 1 for row in rows]
        return [(self.parts[at], row - ends[at]) for at, row in zip(places, rows, strict=True)]


@dataclass(frozen=True, slots=True)
class Refused:
    """One row of the batch that cannot be accepted, and why (a reason of schemas.deadletter)."""

    row: int
    reason: str
    field: str
    message: str

    def __post_init__(self) -> None:
        assert self.reason in REASONS, f"reason {self.reason!r} is not in schemas.deadletter"


@dataclass(frozen=True, slots=True)
class Output:
    """Rows for one batch topic; the runtime splits them by the topic's partition column."""

    topic: Topic
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Delivery:
    """One ready message for a contract's topic: partition 0, in order."""

    topic: str
    key: bytes | None
    value: bytes
    content_type: str
    event_type: str


@dataclass(slots=True)
class Emit:
    """What a step brings forth: outputs, refused rows, and what became of the other rows.

    consumed = accepted + duplicate + superseded + dead-lettered, over the rows of the batch.
    """

    outputs: list[Output] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    accepted: int = 0
    duplicate: int = 0
    superseded: int = 0


class State(Protocol):
    """State of one source partition: a pure function of the messages applied so far."""

    VERSION: ClassVar[int]

    def dump(self) -> bytes: ...

    @classmethod
    def load(cls, dumped: bytes) -> Self: ...


@runtime_checkable
class Growing(State, Protocol):
    """A state that can be saved as a base and the rows that it took in since."""

    growth: Growth

    def __len__(self) -> int: ...

    def base(self, rows: int) -> Iterable[bytes]: ...

    def added(self) -> bytes: ...

    @classmethod
    def load_chain(cls, base: Sequence[bytes], added: Sequence[bytes]) -> Self: ...


Step = Callable[..., Emit]


@dataclass(frozen=True)
class Stage:
    """One registered step: which agent it is of, what it reads, what it may write, its state.

    state() makes the empty state of a source partition. gathers: the step may be given several
    messages as one batch: whatever the cut, a key and revision has one row, and the newest rows,
    the refused rows and the counts are the same.
    """

    agent: str
    source: Topic
    outputs: tuple[Topic, ...]
    state: type[State]
    step: Step
    gathers: bool = False

    @property
    def name(self) -> str:
        """agent.source: names the journal, and the stage in metrics and logs."""
        return f"{self.agent}.{self.source.name}"

    @property
    def journal_topic(self) -> str:
        return f"journal.{self.name}"


STAGES: dict[str, Stage] = {}


def agent(
    name: str,
    *,
    source: Topic,
    outputs: tuple[Topic, ...] = (),
    state: type[State],
    gathers: bool = False,
) -> Callable[[Step], Step]:
    """Register a step as the stage of agent `name` that reads `source`."""

    def register(step: Step) -> Step:
        stage = Stage(name, source, (*outputs, DEAD_LETTER), state, step, gathers)
        assert stage.name not in STAGES, f"stage {stage.name} is registered twice"
        STAGES[stage.name] = stage
        return step

    return register


def stages_of(name: str) -> list[Stage]:
    """The stages of one agent, in the order they were registered."""
    return [stage for stage in STAGES.values() if stage.agent == name]
