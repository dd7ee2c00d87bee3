"""Open load: quarter-hours of many meters as single JSON events, each sent at its appointed time.

    python -m tests.bench.load BROKERS TOPIC FIRST COUNT EVENTS_PER_S

Event i is quarter-hour i // METERS of meter i % METERS, received when it ends: event time runs as
fast as the events come, and each makes exactly one row of usage. It is due (i - FIRST) / rate
seconds after the start, however late the ones before it were: a stall counts against all who had
to wait (no coordinated omission). Prints the start on the monotonic clock at once, and at the end
how late the latest event was handed over.
"""

import sys
import time

import numpy as np
import orjson

from schemas import TELEMETRY_IN, partition_of
from schemas.telemetry import IT_ENERGY
from tests.bench.metered import FIRST_MS, QUARTER_MS

METERS = 5_000
QUANTA_PER_KWH = 10_000
_QUANTA = 4_999  # of the sizes that quantities take, in turn
_TURN_S = 0.002


def meter_id(number: int) -> str:
    return f"meter-{number:05d}"


def quanta(events: np.ndarray) -> np.ndarray:
    """Quantity of each of these events, in 0.1 Wh."""
    return 1 + events % _QUANTA


def main() -> None:
    from confluent_kafka import Producer

    brokers, topic, *numbers = sys.argv[1:]
    first, count, rate = map(int, numbers)
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 2,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
        }
    )
    names = [meter_id(number) for number in range(METERS)]
    partitions = [partition_of(name, TELEMETRY_IN.partitions) for name in names]
    heads = [b'{"meter_id":"%b","register":"%b","kind":"delta",' % (n.encode(), IT_ENERGY.encode())
             for n in names]  # fmt: skip
    producer.list_topics(topic)  # connected before the clock starts
    began_s = time.monotonic() + 0.5
    _say(began_s=began_s)
    done, worst_s = 0, 0.0
    while done < count:
        now_s = time.monotonic()
        due = min(count, int((now_s - began_s) * rate))
        if due <= done:
            time.sleep(_TURN_S)
            continue
        worst_s = max(worst_s, now_s - began_s - done / rate)
        for event in range(first + done, first + due):
            quarter, meter = divmod(event, METERS)
            end_ms = FIRST_MS + (quarter + 1) * QUARTER_MS
            tenths = 1 + event % _QUANTA
            value = heads[meter] + b'"start_ms":%d,"end_ms":%d,"quantity":%d.%04d,"unit":"kWh"}' % (
                end_ms - QUARTER_MS,
                end_ms,
                tenths // QUANTA_PER_KWH,
                tenths % QUANTA_PER_KWH,
            )
            producer.produce(topic, value, partition=partitions[meter], timestamp=end_ms)
        done = due
        producer.poll(0)
    producer.flush()
    _say(late_s=worst_s)


def _say(**line: float) -> None:
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
