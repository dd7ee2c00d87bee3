"""The verdict, recomputed from the source topic: a plain script that uses none of our code.

    python verify.py read OUT.json             keep what the topics hold (before retention), and
                                               print how far each partition is read
    python verify.py judge [ASKED.json]        compare what came out with what went in

Connection: BROKERS, NAMESPACE, and CA, SASL_USER, SASL_PASSWORD for a secured cluster, from the
environment. What it knows of the pipeline is the public form of its topics: JSON lines in, Arrow
batches out, and the header line of a journal record.

Asked: {"earlier": path of a kept file, "removed": {topic: {partition: [from, to)}},
"source": "telemetry.in" or "readings"}.

lost        rows that went in and are nowhere; nothing that retention removed unread
doubled     rows in both readings and dead letters, counted more than once, or slots with k times
            their energy
mismatched  rows and slots with other content than the source says, or that nobody sent
"""

import asyncio
import base64
import json
import math
import os
import ssl
import sys
from collections import Counter, defaultdict

import pyarrow as pa
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

TOPICS = ("telemetry.in", "registry", "readings", "dead-letter", "usage", "journal")
MJ_PER = {"mJ": 1, "J": 10**3, "Wh": 3_600_000, "kWh": 3_600_000_000}
MAX_AGE_MS, MAX_AHEAD_MS = 48 * 3_600_000, 300_000


def refusal(row: object, received_ms: int, meters: dict) -> str:
    """Why a line is no reading; empty where it is one."""
    if not isinstance(row, dict):
        return "not_json"
    for name in ("meter_id", "register", "kind", "start_ms", "end_ms", "quantity", "unit"):
        if row.get(name) is None:
            return "missing_field"
    if not (type(row["start_ms"]) is type(row["end_ms"]) is int):
        return "wrong_type"
    if row["kind"] not in ("delta", "register", "gauge"):
        return "unknown_value"
    if row["start_ms"] >= row["end_ms"]:
        return "interval_reversed"
    if row["unit"] not in MJ_PER:
        return "unit_unknown"
    try:
        amount = float(row["quantity"])
    except ValueError:
        return "wrong_type"
    if not math.isfinite(amount):
        return "not_finite"
    if amount < 0:
        return "negative"
    if amount * MJ_PER[row["unit"]] >= 2**63:
        return "overflow"
    if row["meter_id"] not in meters:
        return "unknown_meter"
    if received_ms - row["end_ms"] > MAX_AGE_MS:
        return "too_old"
    if row["end_ms"] - received_ms > MAX_AHEAD_MS:
        return "too_far_ahead"
    return ""


def source_rows(records: list, meters: dict) -> tuple[dict, dict]:
    """(partition, offset, row) -> reading, and -> (reason, bytes) of what must be refused."""
    good, bad = {}, {}
    for partition, offset, timestamp, _, value in records:
        for number, line in enumerate(line for line in value.split(b"\n") if line.strip()):
            place = (partition, offset, number)
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if reason := refusal(row, timestamp, meters):
                bad[place] = (reason, line)
                continue
            site, account, hub = meters[row["meter_id"]]
            good[place] = (
                row["meter_id"],
                row["register"],
                row["kind"],
                row["start_ms"],
                row["end_ms"],
                int(row["quantity"]) * MJ_PER[row["unit"]],
                row.get("revision", 0),
                row.get("source", "telemetry.in"),
                site,
                account,
                hub,
                timestamp,
            )
    return good, bad


READING = (
    *("meter_id", "register", "kind", "start_ms", "end_ms", "quantity", "revision", "source"),
    *("site_id", "account_id", "hub_id", "received_ms"),
)


def arrow_rows(value: bytes) -> list:
    with pa.ipc.open_stream(value) as reader:
        return reader.read_all().to_pylist()


def readings_by_place(records: list) -> tuple[dict, int, int]:
    """Place -> reading; rows that came again (harmless), and with other content (not)."""
    found, again, differ = {}, 0, 0
    for _, _, _, _, value in records:
        for row in arrow_rows(value):
            place = (row["source_partition"], row["source_offset"], row["source_row"])
            content = tuple(row[name] for name in READING)
            if place in found:
                again += 1
                differ += found[place] != content
            found[place] = content
    return found, again, differ


def letters_by_place(records: list) -> tuple[dict, int]:
    """Place -> (reason, bytes) of the bridge's dead letters; and how many of other agents."""
    found, others = {}, set()
    for _, _, _, _, value in records:
        for row in arrow_rows(value):
            place = (row["source_partition"], row["source_offset"], row["source_row"])
            if row["agent"] == "ingest":
                found[place] = (row["reason"], row["original"])
            else:
                others.add((row["agent"], row["source_topic"], *place))
    return found, len(others)


def winners(readings: list) -> dict:
    """Slot -> (start, mJ, account): highest revision, then smallest source, then earliest start."""
    best = {}
    for row in readings:
        meter, register, kind, start, end, mj, revision, source, _, account, *_ = row
        rank = (-revision, source, start)
        slot = (meter, register, kind, end)
        if slot not in best or rank < best[slot][0]:
            best[slot] = (rank, (start, mj, account))
    return {slot: kept for slot, (_, kept) in best.items()}


def usage_by_slot(records: list) -> tuple[dict, int]:
    """Slot -> (start, mJ, account) of its highest revision; same revision, other content."""
    best, differ = {}, 0
    for _, _, _, _, value in records:
        for row in arrow_rows(value):
            slot = (row["meter_id"], row["register"], row["kind"], row["end_ms"])
            content = (row["start_ms"], row["quantity"], row["account_id"])
            known = best.get(slot)
            if known and known[0] == row["revision"]:
                differ += known[1] != content
            if known is None or row["revision"] > known[0]:
                best[slot] = (row["revision"], content)
    return {slot: kept for slot, (_, kept) in best.items()}, differ


def journal_of(records: list) -> tuple[Counter, int, dict]:
    """Counts of the newest cuts; how many an older owner wrote after a newer one (zombies); and
    the offset that each partition is read until."""
    newest, generations, late = {}, {}, 0
    for partition, _, _, key, value in records:
        if value is None or key.count(b"/") != 1:
            continue
        generation = int(key.split(b"/")[1].split(b"-")[0])
        late += generation < generations.get(partition, generation)
        generations[partition] = max(generation, generations.get(partition, generation))
        header = json.loads(value[: value.index(b"\n")])
        if partition not in newest or header["offset"] >= newest[partition]["offset"]:
            newest[partition] = header
    total: Counter = Counter()
    for header in newest.values():
        total.update(header["counts"])
    return total, late, {p: header["offset"] + 1 for p, header in newest.items()}


def within(partition: int, offset: int, ranges: dict) -> bool:
    low, high = ranges.get(str(partition), (0, 0))
    return low <= offset < high


def judge(topics: dict, bridge: Counter | None, removed: dict, source: str) -> dict:
    """The verdict from raw records; `bridge` are its committed counts, None = not running."""
    entries = [json.loads(record[4]) for record in topics["registry"]]
    hubs = {e["id"]: e["hub_id"] for e in entries if e["kind"] == "site"}
    meters = {
        e["id"]: (e["site_id"], e["account_id"], hubs[e["site_id"]])
        for e in entries
        if e["kind"] == "meter"
    }
    verdict: Counter = Counter()
    readings, again, differ = readings_by_place(topics["readings"])
    letters, others = letters_by_place(topics["dead-letter"])
    if source == "telemetry.in":
        good, bad = source_rows(topics[source], meters)
        # Removed before the bridge had committed them: they may have come through all the same.
        gone = {p for p in {**good, **bad} if within(p[0], p[1], removed.get(source, {}))}
        kept = (good.keys() | bad.keys()) - gone
        verdict["rows"] = len(kept)
        verdict["lost"] += len(kept - readings.keys() - letters.keys())
        verdict["doubled"] += len(readings.keys() & letters.keys())
        verdict["mismatched"] += sum(p in readings and readings[p] != c for p, c in good.items())
        verdict["mismatched"] += sum(p in letters and letters[p] != c for p, c in bad.items())
        verdict["mismatched"] += len((readings.keys() | letters.keys()) - good.keys() - bad.keys())
        verdict["mismatched"] += len(bad.keys() & readings.keys())
        verdict["mismatched"] += len(good.keys() & letters.keys())
        verdict["dead_letters_expected"] = len(bad.keys() - (gone - letters.keys()))
        verdict["reasons"] = len({reason for reason, _ in bad.values()})
        if bridge is not None:
            verdict["doubled"] += max(0, bridge["consumed"] - verdict["rows"])
            verdict["lost"] += max(0, verdict["rows"] - bridge["consumed"])
            verdict["mismatched"] += bridge["dead_lettered"] != len(bad.keys() - gone)
            verdict["reported_lost"] += bridge["lost_messages"]
    else:
        good = readings
        verdict["rows"] = len(readings) + again
        again = 0
    verdict["repeats"], verdict["mismatched"] = again, verdict["mismatched"] + differ
    verdict["dead_letters"] = len(letters) + others
    # what the meter could read: all readings, but for messages that were removed before it did
    unread = removed.get("readings", {})
    read = readings_by_place([r for r in topics["readings"] if not within(r[0], r[1], unread)])[0]
    readable = [content for place, content in good.items() if place in read]
    expected = winners(readable)
    actual, unlike = usage_by_slot(topics["usage"])
    for slot, (start, mj, account) in expected.items():
        if slot not in actual:
            verdict["lost"] += 1
        elif actual[slot] != (start, mj, account):
            counted, rest = divmod(actual[slot][1], mj) if mj else (0, 1)
            verdict["doubled" if counted > 1 and rest == 0 else "mismatched"] += 1
    # A killed worker may have sent the usage of what it had not saved, and what was removed then.
    sent = winners(list(good.values()))
    unasked = actual.keys() - expected.keys()
    verdict["mismatched"] += sum(sent.get(slot) != actual[slot] for slot in unasked) + unlike
    ids = {(r[7], r[0], r[1], r[3], r[4], r[6]) for r in readable}
    counts, verdict["late_writes"], _ = journal_of(topics["journal"])
    counted = counts["accepted"] + counts["superseded"]
    verdict["doubled"] += max(0, counted - len(ids))
    verdict["lost"] += max(0, len(ids) - counted)
    parts = counted + counts["duplicate"] + counts["dead_lettered"]
    verdict["mismatched"] += counts["consumed"] != parts
    verdict["reported_lost"] += counts["lost_messages"]
    verdict["expected_lost"] = sum(
        high - low for ranges in removed.values() for low, high in ranges.values()
    )
    names = ("rows", "lost", "doubled", "mismatched", "expected_lost", "reported_lost")
    names += ("dead_letters_expected", "dead_letters", "reasons", "repeats", "late_writes")
    return {name: verdict[name] for name in names}


def connection() -> dict:
    arguments: dict = {"bootstrap_servers": os.environ["BROKERS"]}
    if user := os.environ.get("SASL_USER"):
        arguments |= {
            "security_protocol": "SASL_SSL",
            "ssl_context": ssl.create_default_context(cafile=os.environ["CA"]),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": os.environ["SASL_PASSWORD"],
        }
    return arguments


async def read(name: str) -> list:
    """(partition, offset, timestamp, key, value) of every committed record, in log order."""
    consumer = AIOKafkaConsumer(
        name,
        **connection(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 << 20,
    )
    await consumer.start()
    try:
        tps = sorted(consumer.assignment())
        begin, end = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, begin[tp])
        records: defaultdict = defaultdict(list)
        left = {tp for tp in tps if begin[tp] < end[tp]}
        while left:
            for tp, batch in (await consumer.getmany(*left, timeout_ms=200)).items():
                records[tp] += [
                    (tp.partition, r.offset, r.timestamp, r.key, r.value) for r in batch
                ]
            left = {tp for tp in left if await consumer.position(tp) < end[tp]}
        return [record for tp in tps for record in records[tp]]
    finally:
        await consumer.stop()


async def read_topics() -> dict:
    space = os.environ["NAMESPACE"]
    names = {name: f"{space}{name}" for name in TOPICS}
    names["journal"] = os.environ["JOURNAL"]
    return {name: await read(full) for name, full in names.items()}


async def committed() -> tuple[Counter, dict]:
    """What the bridge committed beside its offsets; and those of telemetry.in by partition."""
    client = AIOKafkaAdminClient(**connection())
    await client.start()
    try:
        group = f"{os.environ['NAMESPACE']}gridloom.ingest"
        found = await client.list_consumer_group_offsets(group)
    finally:
        await client.close()
    total: Counter = Counter()
    for at in found.values():
        total.update(json.loads(at.metadata) if at.metadata else {})
    return total, {
        tp.partition: at.offset for tp, at in found.items() if tp.topic.endswith("telemetry.in")
    }


def packed(topics: dict) -> str:
    def text(raw: bytes | None) -> str | None:
        return None if raw is None else base64.b64encode(raw).decode()

    return json.dumps(
        {
            name: [(*r[:3], text(r[3]), text(r[4])) for r in records]
            for name, records in topics.items()
        }
    )


def unpacked(kept: str) -> dict:
    def raw(text: str | None) -> bytes | None:
        return None if text is None else base64.b64decode(text)

    return {
        name: [(*r[:3], raw(r[3]), raw(r[4])) for r in records]
        for name, records in json.loads(kept).items()
    }


def joined(earlier: dict, now: dict) -> dict:
    """Both, each record once, in log order."""
    return {
        name: [r for _, r in sorted({r[:2]: r for r in [*earlier[name], *records]}.items())]
        if name in ("telemetry.in", "readings")
        else records
        for name, records in now.items()
    }


async def main() -> None:
    verb, *paths = sys.argv[1:]
    topics = await read_topics()
    if verb == "read":
        with open(paths[0], "w") as file:
            file.write(packed(topics))
        read_until = {"journal": journal_of(topics["journal"])[2]}
        print(json.dumps(read_until | {"committed": (await committed())[1]}))
        return
    asked: dict = {}
    if paths:
        with open(paths[0]) as file:
            asked = json.load(file)
    if "earlier" in asked:
        with open(asked["earlier"]) as file:
            topics = joined(unpacked(file.read()), topics)
    source = asked.get("source", "telemetry.in")
    counts = (await committed())[0] if source == "telemetry.in" else None
    print(json.dumps(judge(topics, counts, asked.get("removed", {}), source)))


if __name__ == "__main__":
    asyncio.run(main())
