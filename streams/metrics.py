"""Prometheus metrics of a worker. No meter, tenant or job as a label: cardinality stays small.

Metrics are floats and start at zero with the process: they watch, they never settle. The exact
counts are in the journals (`gridloom doctor`).
"""

from functools import cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from streams.counts import Counts
from streams.settings import Settings

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

ROWS = Counter(
    "gridloom_rows",
    "Rows by stage and what became of them; consumed is the sum of the others",
    ["stage", "outcome"],
)
MESSAGES = Counter("gridloom_messages", "Messages applied", ["stage"])
REFUSED = Counter("gridloom_refused_rows", "Rows dead-lettered, by reason", ["stage", "reason"])
LAG = Gauge("gridloom_lag_messages", "Messages not yet applied", ["stage", "partition"])
IN_FLIGHT = Gauge("gridloom_ingest_in_flight_bytes", "Sent to Kafka, not yet acknowledged")
BUSY = Gauge(
    "gridloom_ingest_busy_ratio",
    "Share of the time since the last commit in which ingest did not wait for input",
)
STEP_SECONDS = Histogram(
    "gridloom_step_seconds",
    "Time of a step",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
SAVE_SECONDS = Histogram(
    "gridloom_save_seconds",
    "Time of a journal save, outputs awaited",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
JOURNAL_BYTES = Gauge("gridloom_journal_bytes", "Bytes of the last save", ["stage", "partition"])
SAVE_LAG = Gauge(
    "gridloom_journal_lag_seconds",
    "Age of the oldest message that the last save covered",
    ["stage", "partition"],
)
LOST = Counter(
    "gridloom_lost_messages", "Messages removed by retention before they were read", ["stage"]
)
RESTORES = Counter("gridloom_restores", "Falls back to the last cut", ["stage"])


def count_rows(stage: str, counts: Counts) -> None:
    """Add one batch's counts."""
    for outcome, rows in counts.terms().items():
        of(ROWS, stage, outcome).inc(rows)


@cache
def of(metric: Metric, *labels: str) -> Metric:
    """The metric of these labels; looking it up anew is most of the cost of counting."""
    return metric.labels(*labels)


def serve(settings: Settings) -> None:
    """Listen for Prometheus where the settings name a port."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=settings.metrics_host)
