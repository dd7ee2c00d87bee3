"""What the ingest suite's peers know of the registry, and the columns that they write."""

from schemas import partition_of
from schemas.units import MJ_PER_KWH
from tests.bench.readings import CLOSING_SITE, PARTITIONS, RACKS

MJ = {"kWh": MJ_PER_KWH, "Wh": MJ_PER_KWH // 1000, "J": 1000, "mJ": 1}
KINDS = ("delta", "register", "gauge")
MAX_AGE_MS, MAX_AHEAD_MS = 48 * 3_600_000, 300_000
ROWS = 2_000  # of an Arrow batch

# meter -> site, rack, hub, account, partition
PLACES = {
    rack: (site, name, "hub-0", "bench", partition_of(site, PARTITIONS))
    for rack in [*RACKS, *(f"{CLOSING_SITE}/rack-{number:04d}" for number in range(PARTITIONS))]
    for site, name in [rack.split("/")]
}
