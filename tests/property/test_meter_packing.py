"""What the meter added, packed: both twins give the same bytes, and they hold the rows taken in."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.meter import Slots, _core, reference
from kernels.meter.layout import READING, TEXTS
from kernels.snapshot import unpack
from schemas import READINGS
from tests.property.test_meter_intake import LEDGERS, RETENTION_MS, batch_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def rates(random):
    """What a registry may say of a meter at each end; mostly nothing."""

    def facts(_, ends_ms):
        return [
            (int(random.integers(0, 2**40)), int(random.integers(0, 2**62)))
            if random.integers(3) == 0
            else (0, 0)
            for _ in ends_ms
        ]

    return facts


@given(
    st.lists(TEXT, min_size=1, max_size=6, unique=True),
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=5),
    st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_both_twins_pack_what_was_added_alike(texts, batches, seed):
    plain, core = (Slots(RETENTION_MS, ledger) for ledger in LEDGERS.values())
    assert list(plain.base(8)) == list(core.base(8))
    for number, (size, seal) in enumerate(batches):
        batch = batch_of(np.random.default_rng([seed, number]), size, texts)
        for slots in (plain, core):
            slots.apply(batch, rates(np.random.default_rng([seed, number])))
        assert plain.growth.rows == core.growth.rows
        assert plain.added() == core.added()
        if seal:
            for slots in (plain, core):
                slots.growth.seal()
    assert plain.dump() == core.dump(), "packing leaves the state as it was"


def test_added_holds_the_rows_across_the_blocks_of_the_ledger_as_they_were_taken_in():
    rows, meters = 40_000, [f"meter-{n}" for n in range(300)]
    random = np.random.default_rng(5)
    batch = batch_of(random, rows, meters)
    given_columns = {name: batch.column(name) for name in READINGS.by_name}
    given_columns["end_ms"] = np.arange(1, rows + 1) * 1_000
    given_columns["start_ms"] = np.arange(rows) * 1_000
    given_columns["quantity"] = random.integers(0, 2**62, rows)
    batch = READINGS.batch(given_columns)
    plain, core = Slots(RETENTION_MS, reference.Ledger), Slots(RETENTION_MS, _core.Ledger)
    for slots in (plain, core):
        assert len(list(slots.base(8))) == 1
        applied = slots.apply(batch)
        assert applied.accepted + len(applied.refused) == rows

    added = core.added()
    assert added == plain.added()
    _, names, held = unpack(Slots.VERSION, 2, READING, added)
    refused = {refusal.row for refusal in applied.refused}
    taken = [row for row in range(rows) if row not in refused]
    assert len(held) == len(taken) > 16_384, "more than a block of the ledger"
    for name in ("end_ms", "start_ms", "quantity", "received_ms", "epoch"):
        assert held[name].tolist() == np.asarray(batch.column(name))[taken].tolist()
    for name in TEXTS:
        texts = batch.column(name).to_pylist()
        assert [names[code] for code in held[name]] == [texts[row] for row in taken]
