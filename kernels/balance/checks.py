"""Bad values are found before the solve: their region is left out, the others do not notice."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from kernels.balance._scan import is_clean, outside
from kernels.balance.columns import F64, BadInput, Network, Status

_MAY_BE_NEGATIVE = (
    "import_price",
    "export_price",
    "supply_cost",
    "storage_terminal_value",
    "load_mw",
)
_COLUMNS = tuple(
    field.name
    for field in fields(Network)
    if field.name not in ("regions", "dt_h", "carbon_price", "voll", "link_from", "link_to")
)
_LEAST = np.nextafter(0.0, 1.0)  # what is above 0
_PER_LINK = ("link_cap_mw", "link_loss", "link_tariff")


def check(net: Network) -> tuple[Network, list[Status], tuple[BadInput, ...]]:
    """The network to solve, the flags of each region so far, and what was refused."""
    if is_clean(net):
        return net, [Status(0)] * len(net.regions), ()
    errors: list[BadInput] = []
    for name in _COLUMNS:
        low = -np.inf if name in _MAY_BE_NEGATIVE and name != "load_mw" else 0.0
        if outside(getattr(net, name), low, np.inf):
            errors += _refused(net, name, getattr(net, name))
    errors += _efficiencies(net)
    rows = len(net.regions)
    for n, ends in enumerate(zip(net.link_from.tolist(), net.link_to.tolist(), strict=True)):
        if not (0 <= ends[0] < rows and 0 <= ends[1] < rows) or ends[0] == ends[1]:
            errors.append(
                BadInput(f"link {n}", "link_to", -1, str(ends), "name two regions of the network")
            )
    flags = [Status(0)] * len(net.regions)
    if errors:
        bad = {error.region for error in errors}
        out = np.array([region in bad for region in net.regions], bool)
        cut = np.array([f"link {n}" in bad for n in range(len(net.link_cap_mw))], bool)
        if len(cut):
            inside = np.clip(np.stack([net.link_from, net.link_to]), 0, len(net.regions) - 1)
            cut |= out[inside].any(axis=0)
        flags = [Status.BAD_INPUT if is_out else Status(0) for is_out in out]
        net = _without(net, out, cut)
    return _held_back(_clamped(net, flags), flags), flags, tuple(errors)


def _refused(net: Network, name: str, column: F64) -> list[BadInput]:
    wrong = ~np.isfinite(column)
    if name not in _MAY_BE_NEGATIVE:
        wrong |= column < 0
    if name == "load_mw":
        wrong |= column < 0
    found: list[BadInput] = []
    for place in np.argwhere(wrong):
        if any(e.region == _region(net, name, place) for e in found):
            continue  # one line a region and column says enough
        step = int(place[-1]) if column.shape == net.load_mw.shape else -1
        shown = repr(float(column[tuple(place)]))
        message = "send a finite number" + (
            "" if name in _MAY_BE_NEGATIVE[:-1] else " that is not below zero"
        )
        found.append(BadInput(_region(net, name, place), name, step, shown, message))
    return found


def _region(net: Network, name: str, place: Any) -> str:
    return f"link {place[0]}" if name in _PER_LINK else net.regions[place[0]]


def _efficiencies(net: Network) -> list[BadInput]:
    found = []
    for name in ("storage_eta_c", "storage_eta_d", "storage_retain"):
        column = getattr(net, name)
        if not outside(column, _LEAST, 1.0):
            continue
        for r, s in np.argwhere((column <= 0) | (column > 1)):
            if np.isfinite(column[r, s]) and column[r, s] >= 0:
                shown = repr(float(column[r, s]))
                found.append(BadInput(net.regions[r], name, -1, shown, "send above 0, at most 1"))
    for r, s in np.argwhere(net.storage_soc_min_mwh > net.storage_soc_max_mwh):
        shown = repr(float(net.storage_soc_min_mwh[r, s]))
        message = "send a lower limit that is not above the upper"
        found.append(BadInput(net.regions[r], "storage_soc_min_mwh", -1, shown, message))
    for n in np.flatnonzero(net.link_loss > 1):
        shown = repr(float(net.link_loss[n]))
        found.append(BadInput(f"link {n}", "link_loss", -1, shown, "send a share, at most 1"))
    return found


def _without(net: Network, out: Any, cut: Any) -> Network:
    """Regions left out have nothing and need nothing; links cut carry nothing."""
    changed: dict[str, Any] = {}
    for field in fields(net):
        column = getattr(net, field.name)
        if not isinstance(column, np.ndarray):
            continue
        column = column.copy()
        if field.name.startswith("link_"):
            column[cut] = 0
        else:
            ones = field.name in ("storage_eta_c", "storage_eta_d", "storage_retain")
            column[out] = 1.0 if ones else 0.0
        changed[field.name] = column
    return replace(net, **changed)


def _clamped(net: Network, flags: list[Status]) -> Network:
    low, high = net.storage_soc_min_mwh, net.storage_soc_max_mwh
    soc0 = np.clip(net.storage_soc0_mwh, low, high)
    kept = soc0 * net.storage_retain ** net.load_mw.shape[1]
    if np.array_equal(soc0, net.storage_soc0_mwh) and (low <= kept).all():
        return net
    for r in np.flatnonzero((soc0 != net.storage_soc0_mwh).any(axis=1)):
        flags[r] |= Status.SOC0_CLAMPED
    # a storage that leaks may fall below its lower limit where nothing is there to charge it
    return replace(net, storage_soc0_mwh=soc0, storage_soc_min_mwh=np.minimum(low, kept))


def _held_back(net: Network, flags: list[Status]) -> Network:
    """The grid connection keeps its reserve free; one too small for it is named."""
    up, down = net.reserve_up_mw, net.reserve_down_mw
    if not (up.any() or down.any()):
        return net
    short = (up > net.import_max_mw).any(axis=1) | (down > net.export_max_mw).any(axis=1)
    for r in np.flatnonzero(short):
        flags[r] |= Status.RESERVE_SHORT
    return replace(
        net,
        import_max_mw=np.maximum(net.import_max_mw - up, 0.0),
        export_max_mw=np.maximum(net.export_max_mw - down, 0.0),
    )
