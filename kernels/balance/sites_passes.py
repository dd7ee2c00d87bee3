"""One pass of the plain twin: V_T back to V_1, then the plan from soc0, at a given mu.

A convex piecewise-linear function is a start and a list of (value, width) by falling value; its
inf-convolution with another is the merge of both lists.

    h_t(y)    least cost of a step that adds y MWh to the storage: from the most it can charge, walk
              down by whichever costs least to give up: less charge, more discharge, or both more
    V_t(s)    = min over y of h_t(y) + V_t+1(retain s + y), cut to the limits; V_T = -worth s
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

Segment = tuple[float, float]
_NEAR = 1e-12  # of the size: closer to a breakpoint is at it


@dataclass
class Step:
    """What a pass found for one step; MWh."""

    charged: float
    discharged: float
    flexed: float
    soc: float
    value: tuple[float, float]  # of stored energy: what the step's own cost allows
    price: tuple[float, float]  # of the bus: what the supply allows
    at_low: bool
    at_high: bool


@dataclass
class Site:
    """One site's numbers in MWh, and its solve."""

    column: dict[str, Any]
    moves: Any
    asks: Any
    steps: list[Step] = field(default_factory=list)
    mu: float = 0.0

    def __post_init__(self) -> None:
        c = self.column
        for limit, reserve in (
            ("import_max_mw", "reserve_up_mw"),
            ("export_max_mw", "reserve_down_mw"),
        ):
            c[limit] = np.maximum(c[limit] - c[reserve], 0.0)
        self.hours, self.voll = float(c["dt_h"]), float(c["voll"])
        self.T = len(c["load_mw"])

        def own(name: str, none: float) -> float:
            return float(c[name][self.moves][0]) if self.moves.any() else none

        self.charge = own("storage_charge_mw", 0.0) * self.hours
        self.discharge = own("storage_discharge_mw", 0.0) * self.hours
        self.eta_c, self.eta_d = own("storage_eta_c", 1.0), own("storage_eta_d", 1.0)
        self.retain = own("storage_retain", 1.0)
        self.high = own("storage_soc_max_mwh", 0.0)
        low = own("storage_soc_min_mwh", 0.0)
        self.soc0 = min(max(own("storage_soc0_mwh", 0.0), low), self.high)
        self.low = min(low, self.soc0 * self.retain**self.T)
        self.wear, self.worth = own("storage_wear", 0.0), own("storage_terminal_value", 0.0)
        self.ask = float(c["flex_energy_mwh"][self.asks][0]) if self.asks.any() else 0.0
        none = np.zeros(self.T)
        self.flex_max = c["flex_max_mw"][self.asks][0] * self.hours if self.ask else none
        self.unit_cost = c["supply_cost"] + c["carbon_price"] * c["supply_ci"]
        self.import_cost = c["import_price"] + c["carbon_price"] * c["grid_ci"]

    def stack(self, t: int, mu: float) -> list[tuple[float, float, str]]:
        """(price, MWh, what) by rising price: what can serve the step, from full export upwards."""
        c = self.column
        blocks = [
            (0.0, c["ren_avail_mw"][t], "ren"),
            (c["export_price"][t], c["export_max_mw"][t], "export"),
        ]
        blocks += [
            (cost, cap, f"unit {k}")
            for k, (cost, cap) in enumerate(zip(self.unit_cost, c["supply_cap_mw"], strict=True))
        ]
        blocks += [(self.import_cost[t], c["import_max_mw"][t], "import")]
        blocks = [(float(price), float(mw) * self.hours, what) for price, mw, what in blocks]
        blocks += [(mu, float(self.flex_max[t]), "flex")]
        blocks += [(self.voll, float(c["load_mw"][t]) * self.hours, "shed")]
        return sorted((b for b in blocks if b[1] > 0), key=lambda b: b[0])

    def at_rest(self, t: int) -> float:
        """MWh of the stack that are used where the storage rests and all deferrable load runs."""
        c = self.column
        whole: float = (c["load_mw"][t] + c["export_max_mw"][t]) * self.hours + self.flex_max[t]
        return float(whole)

    def stage(self, t: int, stack: Sequence[tuple[float, float, str]]) -> tuple[float, list[Any]]:
        """h_t: the most to be stored; (value, width, more charge, more discharge) from there."""
        supply, rest = sum(width for _, width, _ in stack), self.at_rest(t)
        room = supply - rest if supply - rest > 1e-13 * supply else 0.0
        c, d, tiny = min(self.charge, room), 0.0, 1e-14 * (rest + self.charge)
        top, burn = c * self.eta_c, 1 / self.eta_d - self.eta_c
        segments: list[Any] = []
        x = rest + c
        tops = np.cumsum([width for _, width, _ in stack])
        while True:
            k = int(np.searchsorted(tops, x - tiny)) if x > tiny else -1
            price = stack[min(k, len(stack) - 1)][0] if k >= 0 else -inf
            block = x - (tops[k - 1] if k > 0 else 0.0) if k >= 0 else 0.0
            ways = []
            if c > tiny and k >= 0:
                ways.append((price / self.eta_c, min(block, c), self.eta_c, -1, 0))
            if d < self.discharge - tiny and k >= 0:
                value = (price - self.wear) * self.eta_d
                ways.append((value, min(block, self.discharge - d), 1 / self.eta_d, 0, 1))
            if c < self.charge - tiny and d < self.discharge - tiny and burn > 0:
                amount = min(self.charge - c, self.discharge - d)
                ways.append((-self.wear / burn, amount, burn, 1, 1))
            if not ways:
                return top, segments
            value, amount, stored, more_c, more_d = max(ways, key=lambda way: way[0])
            segments.append((value, amount * stored, amount * more_c, amount * more_d))
            c, d = c + amount * more_c, d + amount * more_d
            x = rest + c - d

    def solve_at(self, mu: float) -> tuple[float, float]:
        """Cost without the requirement's price, and energy served, of the best plan at mu."""
        stacks = [self.stack(t, mu) for t in range(self.T)]
        stages = [self.stage(t, stacks[t]) for t in range(self.T)]
        ahead: list[tuple[float, list[Segment]]] = [
            (self.low, [(self.worth, self.high - self.low)])
        ]
        for t in range(self.T - 1, 0, -1):
            ahead.append(self.before(ahead[-1], stages[t]))
        ahead.reverse()
        soc, cost, energy = self.soc0, 0.0, 0.0
        self.steps = []
        for t in range(self.T):
            step = self.forward(t, soc, stages[t], ahead[t], stacks[t])
            self.steps.append(step)
            soc, energy = step.soc, energy + step.flexed
            cost += self.wear * step.discharged + self.supply_cost(t, step)
        return cost - self.worth * soc, energy

    def before(self, later: tuple[float, list[Segment]], stage: Any) -> tuple[float, list[Segment]]:
        """V_t from V_t+1 and h_t."""
        (start, segments), (top, own) = later, stage
        position = (start - top) / self.retain
        begun = begin = max(position, self.low)
        found: list[Segment] = []
        for value, width, *_ in _merged(segments, own):
            position += width / self.retain
            end = min(position, self.high)
            if end - begun > 1e-15 * self.high:
                found.append((value * self.retain, end - begun))
                begun = end
            if position >= self.high:
                break
        return begin, found

    def forward(self, t: int, soc: float, stage: Any, later: Any, stack: Any) -> Step:
        """The step from soc: walk both lists from the most to be stored down to retain soc."""
        (top, own), (start, segments), kept = stage, later, self.retain * soc
        need, near = max(kept - start + top, 0.0), _NEAR * max(self.high, top)
        charged, discharged, stored = top / self.eta_c, 0.0, start
        i = j = 0
        inside_own = inside_later = False
        while need > near and (i < len(segments) or j < len(own)):
            takes_later = j == len(own) or (i < len(segments) and segments[i][0] >= own[j][0])
            width = segments[i][1] if takes_later else own[j][1]
            share = min(1.0, need / width) if width > need + near else 1.0
            if takes_later:
                stored, inside_later, i = stored + share * width, share < 1, i + (share == 1)
            else:
                charged += share * own[j][2]
                discharged += share * own[j][3]
                inside_own, j = share < 1, j + (share == 1)
            need -= share * width
            if share < 1:
                break
        low = inf if j == 0 else own[j - 1][0]
        value = (own[j][0] if j < len(own) else -inf, own[j][0] if inside_own else low)
        at_low = i == 0 and not inside_later and start <= self.low
        at_high = i == len(segments) and not inside_later
        tiny = 1e-14 * (self.at_rest(t) + self.charge)
        charged = 0.0 if charged <= tiny else min(charged, self.charge)
        discharged = 0.0 if discharged <= tiny else min(discharged, self.discharge)
        soc = kept + self.eta_c * charged - discharged / self.eta_d
        soc = min(max(soc, self.low), self.high)
        reach = self.at_rest(t) + charged - discharged
        price, flexed = self.priced(stack, reach, _NEAR / 10 * (reach + discharged + top)), 0.0
        if self.ask:
            flexed = float(self.flex_max[t]) - used_of(stack, reach).get("flex", 0.0)
        return Step(charged, discharged, max(flexed, 0.0), soc, value, price, at_low, at_high)

    def priced(self, stack: Any, reach: float, near: float) -> tuple[float, float]:
        """What the price of the bus may be where `reach` MWh of the stack are used."""
        low = -inf
        for price, width, _ in stack:
            if reach <= near:
                return low, price
            if width > reach + near:
                return price, price
            low, reach = price, reach - width
        return low, inf

    def served(self, t: int, step: Step) -> dict[str, float]:
        """MWh by what serves, in the stack's order, without shedding deferrable load."""
        reach = self.at_rest(t) - float(self.flex_max[t]) + step.flexed
        stack = [block for block in self.stack(t, 0.0) if block[2] != "flex"]
        return used_of(stack, reach + step.charged - step.discharged)

    def supply_cost(self, t: int, step: Step) -> float:
        """Cost of a step's supply and shedding, less its exports."""
        used = self.served(t, step)
        prices = {what: price for price, _, what in self.stack(t, 0.0)}
        exported = self.column["export_max_mw"][t] * self.hours * self.column["export_price"][t]
        return float(sum(prices[what] * used[what] for what in used) - exported)


def _merged(later: Sequence[Any], own: Sequence[Any]) -> Iterator[Any]:
    """Both lists by falling value; at equal value the later step's first: energy is kept."""
    yield from sorted([*later, *own], key=lambda segment: -segment[0])


def used_of(stack: Sequence[tuple[float, float, str]], reach: float) -> dict[str, float]:
    """MWh of each block, the stack used in its order up to `reach`."""
    used: dict[str, float] = {}
    rounding = 1e-14 * reach
    for _, width, what in stack:
        used[what] = min(width, reach) if reach > rounding else 0.0
        reach -= used[what]
    return used
