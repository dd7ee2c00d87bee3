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

    async def _next_in_line(self, tp: Any, got: int, work: Any) -> bool:
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

    async def _step_failed(self, tp: Any, group: Any, work: Any) -> None:
        self._alone[tp] = group[-1].offset
        if len(group) == 1:
            self._failures[tp, group[-1].offset].append("failed")
        await self.app.consumer.restart(tp, work.cut.offset + 1)


class RunAcknowledgedWithItsFirstBatch(SimRunner):
    """Takes a run for done once the first batch of it is applied."""

    async def handle(self, event: Any) -> None:
        self.event = event
        await super().handle(event)

    async def _take(self, tp: Any, group: Any, work: Any) -> None:
        await super()._take(tp, group, work)
        if self.work.get(tp) is work:
            work.events.append(self.event)


class FailedMessageGatheredAgain(SimRunner):
    """A message whose step raised is tried again with others, and all of them are given up."""

    async def _step_failed(self, tp: Any, group: Any, work: Any) -> None:
        await super()._step_failed(tp, group[-1:], work)
        self._alone.clear()


MUTANTS: dict[str, type[SimRunner]] = {
    mutant.__name__: mutant
    for mutant in (
        AcknowledgedBeforeSaved,
        OneKeyForAllOwners,
        NoHoleCheck,
        OutputAfterSave,
        HalfAppliedStepKept,
        RunAcknowledgedWithItsFirstBatch,
        FailedMessageGatheredAgain,
    )
}


def process_of(runner: type[SimRunner]) -> Any:
    """A worker process that runs this runner."""

    class Mutated(Process):
        runner_type = runner

    return Mutated
