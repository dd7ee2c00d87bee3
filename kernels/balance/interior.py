"""The structured interior point: one solve for each connected part of the network.

Parts that no link joins are solved apart, so that nothing of one part, not even a bad value, can
reach the bytes of another.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from kernels.balance._scan import is_joined
from kernels.balance._spare import spare_the_storages
from kernels.balance.columns import I64, Dispatch, Network, Prices
from kernels.balance.invariants import Plan
from kernels.balance.layout import BLOCKS
from kernels.balance.machine import Workspace, solve_network

_PER_LINK = ("link_from", "link_to", "link_cap_mw", "link_loss", "link_tariff")


def solve(
    net: Network, workspace: Workspace, last: Dispatch | None = None, later: int = 0
) -> tuple[Plan, Prices]:
    """Plan by block (see layout.py) and prices of a checked network.

    last: where to start, `later` steps on; one of another shape is no start.
    """
    plan, prices = _empty(net)
    start = None if last is None else _start(net, last)
    if is_joined(net):
        solve_network(net, plan, prices, workspace, start, later)
    else:
        for regions, links in connected(net):
            one, dual = _empty(part := _part(net, regions, links))
            own = None if start is None else _start_of(start, regions, links)
            solve_network(part, one, dual, workspace, own, later)
            for name, axes in BLOCKS:
                plan[name][links if axes[0] == "L" else regions] = one[name]
            for name in ("bus", "storage", "flex"):
                getattr(prices, name)[regions] = getattr(dual, name)
    spare_the_storages(net, plan)
    return plan, prices


def connected(net: Network) -> list[tuple[I64, I64]]:
    """(regions, links) of each connected part, in the order of its first region."""
    label = list(range(len(net.regions)))

    def root(r: int) -> int:
        while label[r] != r:
            label[r] = label[label[r]]
            r = label[r]
        return r

    for a, b in zip(net.link_from.tolist(), net.link_to.tolist(), strict=True):
        first, other = sorted((root(a), root(b)))
        label[other] = first
    roots = np.array([root(r) for r in range(len(label))], np.int64)
    if not roots.any():
        every = np.arange(len(net.link_from), dtype=np.int64)
        return [(np.arange(len(label), dtype=np.int64), every)]
    ends = roots[net.link_from]
    return [(np.flatnonzero(roots == r), np.flatnonzero(ends == r)) for r in np.unique(roots)]


def _empty(net: Network) -> tuple[Plan, Prices]:
    rows, steps, units, storages, links = net.shape
    width = {"R": rows, "T": steps, "K": units, "S": storages, "L": links}
    plan = {name: np.zeros([width[axis] for axis in axes]) for name, axes in BLOCKS}
    return plan, Prices(np.zeros((rows, steps)), np.zeros((rows, storages, steps)), np.zeros(rows))


def _start(net: Network, last: Dispatch) -> tuple[Plan, Prices] | None:
    plan = {
        "supply": last.supply_mw,
        "import": last.import_mw,
        "export": last.export_mw,
        "ren": last.ren_used_mw,
        "charge": last.charge_mw,
        "discharge": last.discharge_mw,
        "soc": last.soc_mwh,
        "flex": last.flex_mw,
        "shed": last.shed_mw,
        "flow": last.flow_mw,
    }
    rows, steps, units, storages, links = net.shape
    same = plan["supply"].shape == (rows, units, steps)
    same = same and plan["soc"].shape == (rows, storages, steps)
    return (plan, last.prices) if same and len(plan["flow"]) == links else None


def _start_of(start: tuple[Plan, Prices], regions: I64, links: I64) -> tuple[Plan, Prices]:
    plan, prices = start
    own = {name: x[links if name == "flow" else regions] for name, x in plan.items()}
    return own, Prices(prices.bus[regions], prices.storage[regions], prices.flex[regions])


def _part(net: Network, regions: I64, links: I64) -> Network:
    """These regions and links as a network of their own."""
    taken: dict[str, Any] = {}
    for field in fields(net):
        column = getattr(net, field.name)
        if isinstance(column, np.ndarray):
            taken[field.name] = column[links if field.name in _PER_LINK else regions]
    for end in ("link_from", "link_to"):
        taken[end] = np.searchsorted(regions, taken[end])
    return replace(net, regions=tuple(net.regions[r] for r in regions), **taken)
