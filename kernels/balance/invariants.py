"""What every plan must keep, whoever made it: its rows, its limits; and what it costs.

Written from the model in README.md; shares nothing with the solvers' layouts.
"""

import numpy as np

from kernels.balance.columns import F64, Network

Plan = dict[str, F64]  # block -> MW or MWh: supply [R, K, T], charge [R, S, T], flow [L, T], ...


def served(net: Network, plan: Plan) -> F64:
    """[R, T] MW that reaches each bus: local sources, storage, links."""
    reached: F64 = plan["import"] + plan["ren"] + plan["supply"].sum(axis=1)
    reached += plan["discharge"].sum(axis=1)
    if len(plan["flow"]):
        np.add.at(reached, net.link_to, plan["flow"] * (1 - net.link_loss)[:, None])
    return reached


def residual(net: Network, plan: Plan, reached: F64) -> float:
    """Largest violation of a balance (MW), storage (MWh) or deferrable row (MWh)."""
    bus = reached + plan["shed"] - plan["export"] - plan["flex"] - net.load_mw
    bus -= plan["charge"].sum(axis=1)
    if len(plan["flow"]):
        np.subtract.at(bus, net.link_from, plan["flow"])
    worst = np.abs(bus).max(initial=0.0)
    if net.storage_charge_mw.size:
        soc = plan["soc"]
        before = np.concatenate([net.storage_soc0_mwh[:, :, None], soc[:, :, :-1]], axis=2)
        store = soc - net.storage_retain[:, :, None] * before
        store -= (net.dt_h * net.storage_eta_c)[:, :, None] * plan["charge"]
        store += (net.dt_h / net.storage_eta_d)[:, :, None] * plan["discharge"]
        worst = max(worst, np.abs(store).max())
    flex = net.dt_h * plan["flex"].sum(axis=1) + plan["unmet"] - net.flex_energy_mwh
    return float(max(worst, np.abs(flex).max(initial=0.0)))


def cost(net: Network, plan: Plan) -> tuple[float, float]:
    """(objective, sum of its terms without their signs), currency over the horizon."""
    dt, carbon = net.dt_h, net.carbon_price
    terms = [
        plan["import"] * (dt * (net.import_price + carbon * net.grid_ci)),
        plan["export"] * (-dt * net.export_price),
        plan["shed"] * (dt * net.voll),
        plan["unmet"] * net.voll,
        plan["supply"].sum(axis=2) * (dt * (net.supply_cost + carbon * net.supply_ci)),
        plan["discharge"].sum(axis=2) * (dt * net.storage_wear),
        plan["soc"][:, :, -1] * -net.storage_terminal_value,
        plan["flow"].sum(axis=1) * (dt * net.link_tariff),
    ]
    return float(sum(t.sum() for t in terms)), float(sum(np.abs(t).sum() for t in terms))


def within_limits(net: Network, plan: Plan) -> bool:
    """Whether every variable lies in its box, to the last bit."""
    wide, low = plan["soc"], net.storage_soc_min_mwh[:, :, None]
    limits = (
        ("supply", net.supply_cap_mw[:, :, None]),
        ("import", net.import_max_mw),
        ("export", net.export_max_mw),
        ("ren", net.ren_avail_mw),
        ("charge", net.storage_charge_mw[:, :, None]),
        ("discharge", net.storage_discharge_mw[:, :, None]),
        ("soc", net.storage_soc_max_mwh[:, :, None]),
        ("flex", net.flex_max_mw),
        ("shed", net.load_mw),
        ("flow", net.link_cap_mw[:, None]),
        ("unmet", net.flex_energy_mwh),
    )
    if not (wide >= low).all():
        return False
    return all((plan[name] <= upper).all() for name, upper in limits) and all(
        plan[name].min(initial=0.0) >= 0 for name, _ in limits if name != "soc"
    )
