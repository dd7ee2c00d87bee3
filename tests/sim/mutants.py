"""The wrapper, broken on purpose in one place each: the simulation must find every one of them."""

import asyncio
from typing import Any

from streams.journal import Cut
from tests.sim.process import Process, SimRunner


class AcknowledgedBeforeSaved(SimRunner):
    """Acknowledges what it has applied, then saves."""

    async def _save(self, tp: Any, work: Any) -> None:
        for event in work.events:
            event.ack()
        await super()._save(tp, work)


class OneKeyForAllOwners(SimRunner):
    """Every owner of a partition writes its cuts and parts under the same keys."""

    async def _load(self, partitions: set[int], generation: int) -> bool:
        taken = await super()._load(partitions, generation)
        for work in self.work.values():
            work.cut = _Ownerless(**{name: getattr(work.cut, name) for name in _FIELDS})
            for number, part in enumerate(work.cut.chain, 1):
                part.key = b"%b/%d" % (work.cut.key, number)
        return taken


class _Ownerless(Cut):
    @property
    def key(self) -> bytes:
        return b"p%d/0" % self.partition


_FIELDS = Cut.__match_args__


class NoHoleCheck(SimRunner):
    """Applies whatever comes next."""

    async def _next_in_line(self, message: Any, work: Any) -> bool:
        return True


class OutputAfterSave(SimRunner):
    """Sends the outputs once the cut is durable."""

    async def _send(self, record: Any) -> Any:
        return record

    async def _save(self, tp: Any, work: Any) -> None:
        records, work.sends = work.sends, []
        await super()._save(tp, work)
        if work.saved_offset == work.cut.offset:
            sends = [await super(OutputAfterSave, self)._send(record) for record in records]
            await asyncio.gather(*sends, return_exceptions=True)


class HalfAppliedStepKept(SimRunner):
    """A step that raised leaves behind what it had changed."""

    async def _step_failed(self, message: Any, work: Any) -> None:
        self._failures[message.tp, message.offset].append("failed")
        await self.app.consumer.seek(message.tp, work.cut.offset + 1)


MUTANTS: dict[str, type[SimRunner]] = {
    mutant.__name__: mutant
    for mutant in (
        AcknowledgedBeforeSaved,
        OneKeyForAllOwners,
        NoHoleCheck,
        OutputAfterSave,
        HalfAppliedStepKept,
    )
}


def process_of(runner: type[SimRunner]) -> Any:
    """A worker process that runs this runner."""

    class Mutated(Process):
        runner_type = runner

    return Mutated
