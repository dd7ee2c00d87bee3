"""Real traces as problems of the match, with the two schedulers that they are compared with.

openb: 8,152 pods on 1,523 nodes, grouped by accelerator model into sites, all asked at once.
gaia: 100,000 batch jobs of a public cloud, their arrivals folded into one week, over eight hubs.
The traces have no power, prices or deadlines: those are rules below, synthetic and named so.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from kernels.match import Jobs, Network, Series, Sites
from kernels.match.columns import ACCEL, CORES, F64, I64, POWER
from tests.bench.instances import CARBON_PRICE_PER_KG, Columns

HOUR_MS = 3_600_000
_WATTS_A_CORE, _WATTS_AN_ACCEL = 10, 300  # assumed
_WEEK_H = 168
_LOAD = 0.8  # of the week's core hours
# MEE 2022, kgCO2/kWh, of the hubs' provinces or grids; prices by hub are synthetic
_HUBS = (
    ("jing-jin-ji", 0.7252, 520.0),
    ("yangtze-delta", 0.5617, 600.0),
    ("greater-bay", 0.3869, 580.0),
    ("chengdu-chongqing", 0.1404, 430.0),
    ("guizhou", 0.3869, 380.0),
    ("inner-mongolia", 0.6849, 300.0),
    ("gansu", 0.5857, 310.0),
    ("ningxia", 0.5857, 320.0),
)


class Outcome(NamedTuple):
    """What a plan does with a trace."""

    placed: float  # share of the jobs
    cost_per_core_hour: float  # currency, carbon's price included
    gram_per_core_hour: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A trace as columns; its jobs are in the order in which they come."""

    columns: Columns
    hours: I64  # [n] slots a job runs
    gap: float
    note: str

    def greedy(self) -> Outcome:
        """Each job, as it comes, to the cheapest start with room: price and carbon in view."""
        return self._schedule(cheapest=True)

    def at_once(self) -> Outcome:
        """Each job, as it comes, to the first start with room, at the site with most cores free."""
        return self._schedule(cheapest=False)

    def outcome(self, site: I64, slot: I64, seconds: float = 0.0) -> Outcome:
        """Cost and carbon of a plan, by its core hours; energy past the horizon at its end's."""
        jobs, horizon = self.columns[0], self.columns[2].price_per_mwh.shape[1]
        placed = np.flatnonzero(site >= 0)
        cost, gram = _per_watt(self.columns)
        money = kilos = 0.0
        for job in placed.tolist():
            run = np.minimum(np.arange(slot[job], slot[job] + self.hours[job]), horizon - 1)
            watts = float(jobs.demand[job, POWER])
            money += watts * float(cost[site[job], run].sum())
            kilos += watts * float(gram[site[job], run].sum())
        core_hours = float((jobs.demand[placed, CORES] * self.hours[placed]).sum()) / 1000
        share = len(placed) / len(site)
        return Outcome(share, money / core_hours, kilos / core_hours, seconds)

    def _schedule(self, *, cheapest: bool) -> Outcome:
        jobs, sites, series, _ = self.columns
        horizon = series.price_per_mwh.shape[1]
        began = process_time()
        free, cost = sites.capacity.copy(), _per_watt(self.columns)[0]
        sums = np.concatenate([np.zeros((len(cost), 1)), cost.cumsum(axis=1)], axis=1)
        site = np.full(len(jobs.job_id), -1)
        slot = site.copy()
        drawn = _drawn(jobs, sites)
        for job, starts in enumerate(_starts(jobs, self.hours, horizon)):
            ends = np.minimum(starts + self.hours[job], horizon)
            first, last = int(starts[0]), int(ends[-1])
            short = (free[:, first:last] < drawn[job][:, None, :]).any(axis=2)
            count = np.concatenate([np.zeros((len(free), 1)), short.cumsum(axis=1)], axis=1)
            room = count[:, ends - first] == count[:, starts - first]
            if not room.any():
                continue
            if cheapest:
                key = sums[:, ends] - sums[:, starts]
            else:
                key = starts[None, :] - free[:, starts, CORES] / 2**62
            m, at = np.unravel_index(np.where(room, key, np.inf).argmin(), room.shape)
            site[job], slot[job] = m, starts[at]
            free[m, starts[at] : ends[at]] -= drawn[job, m]
        return self.outcome(site, slot, process_time() - began)


def openb() -> Cluster | None:
    """All pods at once; a pod is worth more than any site costs, with its accelerators."""
    folder = _data("openb")
    if folder is None:
        return None
    nodes, pods = (
        _rows(folder / name)
        for name in ("openb_node_list_all_node.csv", "openb_pod_list_default.csv")
    )
    models = sorted({node["model"] for node in nodes})
    free = np.zeros((len(models), 5), np.int64)
    free[:, POWER] = 10**9
    for node in nodes:
        at = models.index(node["model"])
        free[at, CORES] += int(node["cpu_milli"])
        free[at, ACCEL] += int(node["gpu"]) * 1000
    demand = np.zeros((len(pods), 5), np.int64)
    demand[:, CORES] = [int(pod["cpu_milli"]) for pod in pods]
    demand[:, ACCEL] = [int(pod["num_gpu"]) * int(pod["gpu_milli"]) for pod in pods]
    demand[:, POWER] = _watts(demand)
    jobs = Jobs.of(
        [pod["name"] for pod in pods],
        demand,
        duration_ms=HOUR_MS,
        reject_cost=1.0 + demand[:, ACCEL] / 1000,
    )
    count = len(models)
    price = np.linspace(300.0, 600.0, count)[:, None]
    ci = np.linspace(0.7, 0.2, count)[:, None]
    columns = (
        jobs,
        Sites.of([model or "cpu" for model in models], free, 1),
        Series.of(HOUR_MS, price, ci),
        Network.of(),
    )
    hours = np.ones(len(pods), np.int64)
    return Cluster(columns, hours, 0.002, "synthetic: power, prices and carbon by site")


def gaia_week(count: int | None = None) -> Cluster | None:
    """The first `count` of 100,000 jobs, by arrival; each may wait up to a day."""
    folder = _data("gaia")
    if folder is None:
        return None
    trace = pq.read_table(folder / "azure.parquet").slice(0, count).to_pydict()
    arrival, length, cpus = (np.array(trace[c]) for c in ("arrival_time", "length", "cpus"))
    order = np.argsort(arrival % _WEEK_H, kind="stable")
    release = np.floor(arrival % _WEEK_H).astype(np.int64)[order]
    hours = np.ceil(length[order]).astype(np.int64)
    n, m = len(order), len(_HUBS)
    draw = np.random.default_rng(1)
    demand = np.zeros((n, 5), np.int64)
    demand[:, CORES] = 1000 * cpus[order]
    demand[:, POWER] = _watts(demand)
    wait = draw.choice([0, 6, 12, 24], n)
    core_hours = demand * np.minimum(hours, _WEEK_H - release)[:, None]
    share = draw.dirichlet(np.full(m, 8.0))[:, None]
    capacity = (core_hours.sum(axis=0) / _WEEK_H / _LOAD * share).astype(np.int64)
    capacity[:, POWER] *= 2
    hour = np.arange(_WEEK_H) / 24 * 2 * np.pi
    swing = 1 + 0.4 * np.sin(hour + draw.uniform(0, 2, (m, 1)))
    columns = (
        Jobs.of(
            [f"job-{i:06d}" for i in range(n)],
            demand,
            duration_ms=hours * HOUR_MS,
            release_slot=release,
            deadline_slot=release + hours + wait,
            reject_cost=0.02 * demand[:, CORES] / 1000 * hours + 0.001,
        ),
        Sites.of([hub for hub, _, _ in _HUBS], capacity, _WEEK_H),
        Series.of(
            HOUR_MS,
            np.array([[price] for _, _, price in _HUBS]) * swing,
            np.repeat([[ci] for _, ci, _ in _HUBS], _WEEK_H, axis=1),
        ),
        Network.of(),
    )
    return Cluster(columns, hours, 0.003, "synthetic: power, prices, waits and capacities")


def _watts(demand: I64) -> I64:
    watts: I64 = (
        demand[:, CORES] * _WATTS_A_CORE + demand[:, ACCEL] * _WATTS_AN_ACCEL + 999
    ) // 1000
    return watts


def _per_watt(columns: Columns) -> tuple[F64, F64]:
    """Currency and gram [M, T] of a watt over a slot."""
    _, sites, series, _ = columns
    kwh = (sites.pue_ppm / 1e6 * series.slot_ms / HOUR_MS / 1000)[:, None]
    per_kwh = series.price_per_mwh / 1000 + CARBON_PRICE_PER_KG * series.ci_kg_per_kwh
    return kwh * per_kwh, kwh * series.ci_kg_per_kwh * 1000


def _drawn(jobs: Jobs, sites: Sites) -> I64:
    drawn = np.repeat(jobs.demand[:, None, :], len(sites.site_id), axis=1)
    drawn[:, :, POWER] = -(-(drawn[:, :, POWER] * sites.pue_ppm) // 10**6)
    return drawn


def _starts(jobs: Jobs, hours: I64, horizon: int) -> Iterator[I64]:
    last = np.where(jobs.deadline_slot >= 0, jobs.deadline_slot - hours, horizon - 1)
    for first, end in zip(jobs.release_slot.tolist(), last.tolist(), strict=True):
        yield np.arange(first, min(end, horizon - 1) + 1)


def _data(name: str) -> Path | None:
    folder = Path(os.environ.get("GRIDLOOM_DATA", "../shared/data"), name)
    return folder if folder.is_dir() else None


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))
