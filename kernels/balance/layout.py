"""Where each variable and row of the linear programme stands.

Variables: x = [supply R,K,T | import R,T | export | ren | charge R,S,T | discharge | soc | flex
R,T | shed | flow L,T | unmet R], all with 0 <= x <= upper but soc, which has its own lower limit.
Rows: bus R,T (sum of what comes in = load), storage R,S,T, flex R. Shedding and unmet deferrable
energy cost voll, so that a plan always exists.
"""

from dataclasses import dataclass

import numpy as np

from kernels.balance.columns import F64, I64, Network


@dataclass(frozen=True, slots=True)
class Programme:
    """minimise cost.x subject to A x = rhs, lower <= x <= upper; A as triplets."""

    cost: F64
    lower: F64
    upper: F64
    rhs: F64
    row: I64
    column: I64
    coefficient: F64


BLOCKS = (
    ("supply", "RKT"),
    ("import", "RT"),
    ("export", "RT"),
    ("ren", "RT"),
    ("charge", "RST"),
    ("discharge", "RST"),
    ("soc", "RST"),
    ("flex", "RT"),
    ("shed", "RT"),
    ("flow", "LT"),
    ("unmet", "R"),
)


def places(net: Network) -> dict[str, I64]:
    """Block name -> index of each of its variables, in the block's shape."""
    rows, steps, units, storages, links = net.shape
    width = {"R": rows, "T": steps, "K": units, "S": storages, "L": links}
    found, start = {}, 0
    for name, axes in BLOCKS:
        shape = tuple(width[axis] for axis in axes)
        size = int(np.prod(shape))
        found[name] = np.arange(start, start + size, dtype=np.int64).reshape(shape)
        start += size
    return found


def programme(net: Network) -> Programme:
    """The network as a linear programme."""
    rows, steps, _, storages, _ = net.shape
    at, dt, carbon = places(net), net.dt_h, net.carbon_price
    size = sum(block.size for block in at.values())
    cost, lower, upper = np.zeros(size), np.zeros(size), np.zeros(size)
    over = np.ones(steps)

    cost[at["supply"]] = (dt * (net.supply_cost + carbon * net.supply_ci))[:, :, None] * over
    upper[at["supply"]] = net.supply_cap_mw[:, :, None] * over
    cost[at["import"]] = dt * (net.import_price + carbon * net.grid_ci)
    upper[at["import"]] = net.import_max_mw
    cost[at["export"]], upper[at["export"]] = -dt * net.export_price, net.export_max_mw
    upper[at["ren"]] = net.ren_avail_mw
    upper[at["charge"]] = net.storage_charge_mw[:, :, None] * over
    upper[at["discharge"]] = net.storage_discharge_mw[:, :, None] * over
    cost[at["discharge"]] = (dt * net.storage_wear)[:, :, None] * over
    lower[at["soc"]] = net.storage_soc_min_mwh[:, :, None] * over
    upper[at["soc"]] = net.storage_soc_max_mwh[:, :, None] * over
    cost[at["soc"][:, :, -1]] = -net.storage_terminal_value
    upper[at["flex"]] = net.flex_max_mw
    cost[at["shed"]], upper[at["shed"]] = dt * net.voll, np.maximum(net.load_mw, 0.0)
    cost[at["flow"]] = (dt * net.link_tariff)[:, None] * over
    upper[at["flow"]] = net.link_cap_mw[:, None] * over
    cost[at["unmet"]], upper[at["unmet"]] = net.voll, net.flex_energy_mwh

    soc_rhs = np.zeros((rows, storages, steps))
    soc_rhs[:, :, 0] = net.storage_retain * net.storage_soc0_mwh
    rhs = np.concatenate([net.load_mw.ravel(), soc_rhs.ravel(), net.flex_energy_mwh])
    row, column, coefficient = _entries(net, at)
    return Programme(cost, lower, upper, rhs, row, column, coefficient)


def _entries(net: Network, at: dict[str, I64]) -> tuple[I64, I64, F64]:
    rows, steps, _, storages, _ = net.shape
    dt = net.dt_h
    bus = np.arange(rows * steps, dtype=np.int64).reshape(rows, steps)
    first = rows * steps
    store = first + np.arange(rows * storages * steps, dtype=np.int64).reshape(
        rows, storages, steps
    )
    flex = first + store.size + np.arange(rows, dtype=np.int64)[:, None] + 0 * bus
    wide_units, wide = bus[:, None, :] + 0 * at["supply"], bus[:, None, :] + 0 * store
    per_step = np.ones(steps)
    into = -dt * net.storage_eta_c[:, :, None] * per_step
    out = dt / net.storage_eta_d[:, :, None] * per_step
    kept = -net.storage_retain[:, :, None] * per_step[1:]
    arrives = (1 - net.link_loss)[:, None] * per_step
    live = net.link_from != net.link_to  # a link that was cut stands in no row
    entries: list[tuple[I64, I64, F64 | float]] = [
        (wide_units, at["supply"], 1.0),
        (bus, at["import"], 1.0),
        (bus, at["export"], -1.0),
        (bus, at["ren"], 1.0),
        (bus, at["flex"], -1.0),
        (bus, at["shed"], 1.0),
        (wide, at["charge"], -1.0),
        (wide, at["discharge"], 1.0),
        (store, at["soc"], 1.0),
        (store[:, :, 1:], at["soc"][:, :, :-1], kept),
        (store, at["charge"], into),
        (store, at["discharge"], out),
        (flex, at["flex"], dt),
        (flex[:, 0], at["unmet"], 1.0),
        (bus[net.link_from[live]], at["flow"][live], -1.0),
        (bus[net.link_to[live]], at["flow"][live], arrives[live]),
    ]
    parts = [
        (np.ravel(r), np.ravel(c), np.ravel(np.broadcast_to(v, np.shape(c)))) for r, c, v in entries
    ]
    joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2].astype(np.float64)
