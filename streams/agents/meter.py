"""Meter: readings -> usage. Interval energy that no duplicate, reorder or replay can change."""

from collections.abc import Sequence

from kernels.meter import Facts, Slots
from schemas import READINGS, USAGE
from schemas.registry import Meter
from streams.agent import Batch, Emit, Output, Refused, agent
from streams.registry import RegistryView


@agent("meter", source=READINGS, outputs=(USAGE,), state=Slots, gathers=True)
def step(slots: Slots, batch: Batch) -> Emit:
    """Apply one batch; emit the usage rows that it changed and the rows it refused, with reasons.

    batch: rows of READINGS, any order, duplicates allowed. Energy in mJ, time in UTC ms, half-open.
    """
    applied = slots.apply(batch.rows, facts_of(batch.registry))
    return Emit(
        outputs=[Output(USAGE, applied.changed)] if applied.changed.num_rows else [],
        refused=[Refused(*refusal) for refusal in applied.refused],
        accepted=applied.accepted,
        duplicate=applied.duplicate,
        superseded=applied.superseded,
    )


def facts_of(registry: RegistryView) -> Facts:
    """Rating in W and register modulus of a meter at each end, as the registry has them."""

    def facts(meter_id: str, ends_ms: Sequence[int]) -> Sequence[tuple[int, int]]:
        first = registry.find(Meter, meter_id, min(ends_ms))
        # one entry at both ends of the span holds in all of it: most batches ask once a meter
        if len(ends_ms) == 1 or first is registry.find(Meter, meter_id, max(ends_ms)):
            return [_facts(first)] * len(ends_ms)
        return [_facts(registry.find(Meter, meter_id, end_ms)) for end_ms in ends_ms]

    return facts


def _facts(meter: Meter | None) -> tuple[int, int]:
    return (meter.rating_w, meter.register_modulus) if meter else (0, 0)
