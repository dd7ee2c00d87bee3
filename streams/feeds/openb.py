"""openb: 8,152 pods of a production GPU cluster, asked for at once and placed in one tick.

Data: hkust-adsl/kubernetes-scheduler-simulator (Alibaba, cluster-trace-gpu-v2023). Nodes of one GPU
model are one site; a pod must fit the site's free total, not one node's.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from schemas.registry import Account, AnyEntry, Band, Domain, Provider, Site, Tariff
from streams.feeds.feed import HOUR_MS, Event, Row, market_events
from streams.feeds.files import folder, read_rows

START_MS = 1_672_531_200_000  # 2023-01-01 00:00 UTC; the trace has no date
DOMAIN = "openb"
REGION = "openb"
WATTS_PER_CORE, WATTS_PER_GPU = 5, 300

_NO_GPU = "cpu"
_PRICE_PER_MWH = 500.0
_UNPRICED = Tariff(id="openb-unpriced", bands=(Band(0, 24, 0),))


class OpenB:
    """All pods at time 0, each for one slot of an hour; one tick."""

    name = "openb"
    label = (
        "openb 2023; all pods at once for one hour; nodes pooled by GPU model; memory left out; "
        f"assumed: {WATTS_PER_GPU} W a GPU, {WATTS_PER_CORE} W a core, PUE 1, a flat price, and "
        "a cost of rejection in proportion to what is asked"
    )
    readings = 0

    def __init__(self, data: Path) -> None:
        found = folder(data, self.name)
        columns = ["cpu_milli", "gpu", "model"]
        self._nodes = read_rows(found / "openb_node_list_all_node.csv", columns)
        columns = ["name", "cpu_milli", "num_gpu", "gpu_milli", "qos"]
        self._pods = read_rows(found / "openb_pod_list_default.csv", columns)

    def count(self) -> int:
        return sum(len(rows) for _, rows in self._market)

    def entries(self) -> list[AnyEntry]:
        """The domain, a site a GPU model, an account a quality of service."""
        accounts = sorted({_account(pod) for pod in self._pods})
        return [
            Domain(id=DOMAIN, partition=3, steps=1),
            Provider(id=self.name, name="hkust-adsl/kubernetes-scheduler-simulator"),
            _UNPRICED,
            *(Account(id=account, tariff_id=_UNPRICED.id) for account in accounts),
            *(Site(id=offer["id"], hub_id=REGION) for offer in self._offers()),
        ]

    def events(self) -> Iterator[Event]:
        for at_ms, rows in self._market:
            yield from market_events(rows, at_ms)

    @cached_property
    def _market(self) -> list[tuple[int, list[Row]]]:
        """Everything at the tick, and the next hour's state, which brings the tick about."""
        first = [_region(START_MS), *self._offers(), *map(_job, self._pods)]
        return [(START_MS, first), (START_MS + HOUR_MS, [_region(START_MS + HOUR_MS)])]

    def _offers(self) -> Iterator[Row]:
        cores_milli: dict[str, int] = {}
        accel_milli: dict[str, int] = {}
        for node in self._nodes:
            model = node["model"] or _NO_GPU
            cores_milli[model] = cores_milli.get(model, 0) + int(node["cpu_milli"])
            accel_milli[model] = accel_milli.get(model, 0) + int(node["gpu"]) * 1000
        for model, cores in sorted(cores_milli.items()):
            yield {
                "kind": "offer",
                "domain": DOMAIN,
                "id": f"openb-{model.lower()}",
                "region": REGION,
                "cores_milli": cores,
                "accel_milli": accel_milli[model],
                "power_w": _power_w(cores, accel_milli[model]),
                "pue_ppm": 1_000_000,
                "classes": "general|intelligent",
            }


def _region(start_ms: int) -> Row:
    """A grid without limit: only the machines are short."""
    return {
        "kind": "region",
        "domain": DOMAIN,
        "id": REGION,
        "region": REGION,
        "start_ms": start_ms,
        "end_ms": start_ms + HOUR_MS,
        "load_mw": 0.0,
        "ren_avail_mw": 0.0,
        "import_max_mw": 1000.0,
        "import_price_per_mwh": _PRICE_PER_MWH,
    }


def _job(pod: dict[str, str]) -> Row:
    """One pod; gpu_milli is a share of one GPU, or 1000 of each."""
    cores_milli = int(pod["cpu_milli"])
    accel_milli = int(pod["num_gpu"]) * int(pod["gpu_milli"])
    return {
        "kind": "job",
        "domain": DOMAIN,
        "id": pod["name"],
        "region": REGION,
        "account_id": _account(pod),
        "class": "intelligent" if accel_milli else "general",
        "start_ms": START_MS,
        "duration_ms": HOUR_MS,
        "cores_milli": cores_milli,
        "accel_milli": accel_milli,
        "power_w": _power_w(cores_milli, accel_milli),
        "reject_cost": 10 + accel_milli / 100 + cores_milli / 10_000,
    }


def _power_w(cores_milli: int, accel_milli: int) -> int:
    return (cores_milli * WATTS_PER_CORE + accel_milli * WATTS_PER_GPU) // 1000


def _account(pod: dict[str, str]) -> str:
    return f"openb-{pod['qos'].lower()}"
