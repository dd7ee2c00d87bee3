"""Rollup: readings -> windows of a quarter hour by rack, site and hub.

A rack's readings are all in one partition, so its windows are finished here; sites and hubs may be
split, so each partition publishes its part, and the second stage adds the parts up.
"""

from typing import Any

from kernels.rollup import Merge, Windows
from schemas import READINGS, ROLLUPS, ROLLUPS_PARTIAL
from streams.agent import Batch, Emit, Output, Refused, agent
from streams.settings import settings


class OpenWindows(Windows):
    """Windows of the length that is set; a state that was saved keeps its own."""

    def __init__(self, window_ms: int | None = None, *more: Any, **others: Any) -> None:
        super().__init__(window_ms or settings().window_ms, *more, **others)


@agent(
    "rollup",
    source=READINGS,
    outputs=(ROLLUPS, ROLLUPS_PARTIAL),
    state=OpenWindows,
    gathers=True,
)
def step(windows: Windows, batch: Batch) -> Emit:
    """Apply one batch of readings; emit the windows that it changed.

    batch: rows of READINGS, any order, duplicates allowed. Energy in mJ, time in UTC ms, half-open.
    """
    applied = windows.apply(batch.rows, batch.partition)
    changed = ((ROLLUPS, applied.rollups), (ROLLUPS_PARTIAL, applied.partials))
    return Emit(
        outputs=[Output(topic, rows) for topic, rows in changed if rows.num_rows],
        refused=[Refused(*refusal) for refusal in applied.refused],
        accepted=applied.accepted,
        duplicate=applied.duplicate,
        superseded=applied.superseded,
    )


@agent("rollup", source=ROLLUPS_PARTIAL, outputs=(ROLLUPS,), state=Merge, gathers=True)
def merge_step(merge: Merge, batch: Batch) -> Emit:
    """Apply one batch of partials; emit the site and hub windows that it changed, and their PUE."""
    merged = merge.apply(batch.rows)
    return Emit(
        outputs=[Output(ROLLUPS, merged.rollups)] if merged.rollups.num_rows else [],
        refused=[Refused(*refusal) for refusal in merged.refused],
        accepted=merged.accepted,
        duplicate=merged.duplicate,
        superseded=merged.superseded,
    )
