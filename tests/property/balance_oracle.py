"""An independent statement of the balance: one variable and one row at a time, solved by HiGHS.

Written from the model in words, for tests only. It shares no code with the kernel: not its layout,
not its checks. What the kernel clamps (a state of charge outside its limits) it has to be told.
"""

import highspy
import numpy as np

from kernels.balance import Network


class Oracle:
    """The least cost of a network, and what each variable is there."""

    def __init__(self, net: Network, method: str = "ipm", complementary: bool = False) -> None:
        self.solver = highspy.Highs()
        self.solver.setOptionValue("output_flag", False)
        self.solver.setOptionValue("threads", 1)
        self.solver.setOptionValue("solver", "choose" if complementary else method)
        self.solver.setOptionValue("presolve", "on" if method == "ipm" else "off")
        for name in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self.solver.setOptionValue(name, 1e-9)
        self.cost: list[float] = []
        self._state(net, complementary)
        for column, cost in enumerate(self.cost):
            self.solver.changeColCost(column, cost)
        self.solver.run()
        status = self.solver.modelStatusToString(self.solver.getModelStatus())
        assert status == "Optimal", f"the oracle found no optimum: {status}"
        self.x = np.array(self.solver.getSolution().col_value)
        self.terms = np.array(self.cost) * self.x
        self.objective = float(self.terms.sum())
        self.scale = max(1.0, float(np.abs(self.terms).sum()))
        self.taken = self._taken()

    def _taken(self) -> float:
        """What the answer may save by breaking rows a little, at the dearest row's price."""
        broken = self.solver.getInfo().sum_primal_infeasibilities
        return float(broken) * max(map(abs, self.solver.getSolution().row_dual), default=0.0)

    def _variable(self, low: float, high: float, cost: float) -> int:
        self.solver.addVar(float(low), float(high))
        self.cost.append(float(cost))
        return len(self.cost) - 1

    def _row(self, value: float, terms: list[tuple[int, float]]) -> None:
        columns = np.array([column for column, _ in terms], np.int32)
        self.solver.addRow(value, value, len(terms), columns, np.array([c for _, c in terms]))

    def _state(self, net: Network, complementary: bool) -> None:
        regions, steps, units, storages, links = net.shape
        hours = net.dt_h
        bus: dict[tuple[int, int], list[tuple[int, float]]] = {
            (r, t): [] for r in range(regions) for t in range(steps)
        }
        for n in range(links):
            for t in range(steps):
                sent = self._variable(0, net.link_cap_mw[n], hours * net.link_tariff[n])
                bus[int(net.link_from[n]), t].append((sent, -1.0))
                bus[int(net.link_to[n]), t].append((sent, 1.0 - net.link_loss[n]))
        for r in range(regions):
            for t in range(steps):
                here = bus[r, t]
                price = net.import_price[r, t] + net.carbon_price * net.grid_ci[r, t]
                here.append((self._variable(0, net.import_max_mw[r, t], hours * price), 1.0))
                gain = hours * net.export_price[r, t]
                here.append((self._variable(0, net.export_max_mw[r, t], -gain), -1.0))
                here.append((self._variable(0, net.ren_avail_mw[r, t], 0), 1.0))
                here.append((self._variable(0, net.load_mw[r, t], hours * net.voll), 1.0))
                for k in range(units):
                    unit = net.supply_cost[r, k] + net.carbon_price * net.supply_ci[r, k]
                    here.append((self._variable(0, net.supply_cap_mw[r, k], hours * unit), 1.0))
            energy = net.flex_energy_mwh[r]
            served = [(self._variable(0, energy, net.voll), 1.0)]
            for t in range(steps):
                flex = self._variable(0, net.flex_max_mw[r, t], 0)
                bus[r, t].append((flex, -1.0))
                served.append((flex, hours))
            self._row(energy, served)
            for s in range(storages):
                self._storage(net, r, s, bus, complementary)
            for t in range(steps):
                self._row(net.load_mw[r, t], bus[r, t])

    def _storage(
        self,
        net: Network,
        r: int,
        s: int,
        bus: dict[tuple[int, int], list[tuple[int, float]]],
        complementary: bool,
    ) -> None:
        steps, hours = net.shape[1], net.dt_h
        charge_max, discharge_max = net.storage_charge_mw[r, s], net.storage_discharge_mw[r, s]
        before: int | None = None
        for t in range(steps):
            charge = self._variable(0, charge_max, 0)
            discharge = self._variable(0, discharge_max, hours * net.storage_wear[r, s])
            worth = net.storage_terminal_value[r, s] if t == steps - 1 else 0.0
            low, high = net.storage_soc_min_mwh[r, s], net.storage_soc_max_mwh[r, s]
            soc = self._variable(low, high, -worth)
            bus[r, t] += [(charge, -1.0), (discharge, 1.0)]
            terms = [
                (soc, 1.0),
                (charge, -hours * net.storage_eta_c[r, s]),
                (discharge, hours / net.storage_eta_d[r, s]),
            ]
            kept = net.storage_retain[r, s]
            if before is not None:
                terms.append((before, -kept))
            self._row(kept * net.storage_soc0_mwh[r, s] if before is None else 0.0, terms)
            before = soc
            if complementary:
                which = self._variable(0, 1, 0)
                self.solver.changeColIntegrality(which, highspy.HighsVarType.kInteger)
                pair = np.array([charge, which], np.int32)
                self.solver.addRow(-highspy.kHighsInf, 0, 2, pair, np.array([1.0, -charge_max]))
                pair = np.array([discharge, which], np.int32)
                both = np.array([1.0, discharge_max])
                self.solver.addRow(-highspy.kHighsInf, discharge_max, 2, pair, both)


def random_network(
    random: np.random.Generator,
    regions: int = 3,
    steps: int = 6,
    units: int = 2,
    storages: int = 1,
    links: int = 0,
    negative: bool = False,
) -> Network:
    """A network with every feature, and often with ties, zero widths and limits that bind."""
    scale = 10.0 ** random.integers(-3, 6) if random.random() < 0.3 else 10.0
    some = (regions, steps)

    def maybe(column: np.ndarray, chance: float = 0.25) -> np.ndarray:
        return column * (random.random(column.shape[0]) > chance).reshape(
            -1, *[1] * (column.ndim - 1)
        )

    price = random.uniform(20, 120, some)
    if random.random() < 0.4:
        price = random.choice([50.0, 80.0], some)
    if negative:
        price = price - random.uniform(20, 90)
    lossless = random.random() < 0.3
    per = (regions, storages)
    soc_max = random.uniform(0.5, 4, per) * scale
    soc_min = maybe(random.uniform(0, 0.2, per) * soc_max)
    soc0 = soc_min + random.choice([0.0, 0.5, 1.0], per) * (soc_max - soc_min)
    retain = np.where(random.random(per) < 0.5, 1.0, random.uniform(0.97, 1.0, per))
    hours = float(random.choice([0.25, 0.5, 1.0]))
    soc0 = np.clip(soc0, soc_min / retain**steps * (1 + 1e-12), soc_max)  # it can be kept
    flex_max = maybe(random.uniform(0, 0.6, some) * scale) * (random.random(some) < 0.8)
    ends = random.integers(0, regions, (2, links)) if links else np.zeros((2, 0), int)
    ends = ends[:, ends[0] != ends[1]]
    return Network.of(
        regions=tuple(f"r{r}" for r in range(regions)),
        dt_h=hours,
        load_mw=maybe(random.uniform(0, 2, some) * scale, 0.1),
        ren_avail_mw=maybe(random.uniform(0, 2, some) * scale),
        import_max_mw=maybe(random.uniform(0, 3, some) * scale),
        export_max_mw=maybe(random.uniform(0, 2, some) * scale),
        import_price=price,
        export_price=price * random.choice([0.0, 0.9, 1.0, 1.2]),
        grid_ci=random.uniform(0, 1, some),
        flex_max_mw=flex_max,
        flex_energy_mwh=maybe(flex_max.sum(axis=1) * hours * random.uniform(0, 1.3)),
        supply_cap_mw=maybe(random.uniform(0, 1, (regions, units)) * scale),
        supply_cost=random.choice([40.0, 50.0, 80.0, 95.0], (regions, units)),
        supply_ci=random.choice([0.0, 0.4, 0.9], (regions, units)),
        storage_charge_mw=random.choice([0.0, 1e-6, 0.5, 1.0, 100.0], per) * scale,
        storage_discharge_mw=random.choice([0.0, 0.5, 1.0, 100.0], per) * scale,
        storage_eta_c=np.ones(per) if lossless else random.uniform(0.8, 1, per),
        storage_eta_d=np.ones(per) if lossless else random.uniform(0.8, 1, per),
        storage_retain=retain,
        storage_soc0_mwh=soc0,
        storage_soc_min_mwh=soc_min,
        storage_soc_max_mwh=soc_max,
        storage_wear=random.choice([0.0, 1.0, 5.0], per),
        storage_terminal_value=random.choice([0.0, 40.0, 70.0], per),
        link_from=ends[0],
        link_to=ends[1],
        link_cap_mw=random.uniform(0, 1, ends.shape[1]) * scale,
        link_loss=random.choice([0.0, 0.02, 0.1], ends.shape[1]),
        link_tariff=random.choice([0.0, 0.5, 3.0], ends.shape[1]),
        carbon_price=float(random.choice([0.0, 50.0])),
        voll=float(random.choice([300.0, 5000.0])),
    )
