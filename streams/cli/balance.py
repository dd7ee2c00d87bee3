"""`gridloom balance`: a case of regions, storages and links as a certified plan."""

from typing import TYPE_CHECKING, Any

import typer

from streams.cli.console import JsonOption, note, out, print_json, print_table
from streams.cli.errors import FAILED
from streams.cli.input import FileArgument

if TYPE_CHECKING:
    from kernels.balance import Dispatch, Network

_HEIGHT = 8  # rows of a region's picture
_SOURCES = (  # what stands on what, with its letter and colour
    ("wind and sun", "R", "green"),
    ("supply", "S", "yellow"),
    ("storage", "D", "cyan"),
    ("links", "L", "blue"),
    ("imports", "I", "magenta"),
    ("not served", "X", "bold red"),
)


def register(app: typer.Typer) -> None:
    app.command("balance")(balance)


def balance(file: FileArgument, as_json: JsonOption = False) -> None:
    """Plan a case at least cost: dispatch, storage, imports, curtailment, flexible load; proven.

    FILE is JSON, or Parquet with one row: `regions` (names), `dt_h`, `load_mw` [region][step], and
    any other column of the balance (kernels/balance/README.md), each as a number for all or as
    nested lists. Prints the plan, a picture of what serves each region, prices and the gap.

    A bad value takes its region out and is named; exit code 1 then, or where the gap is loose.

    Example: `gridloom balance tests/cases/three_regions.json`
    """
    from kernels.balance import balance as solve
    from streams.cli.case import network_of, read_case

    network = network_of(read_case(file))
    plan = solve(network)
    rows = _rows(network, plan)
    if as_json:
        for row in rows:
            print_json(row)
        print_json(_proof(plan))
    else:
        print_table("", list(rows[0]) if rows else [], [list(row.values()) for row in rows])
        _picture(network, plan)
        _say_proof(plan)
    for error in plan.errors:
        where = f"{error.region}, {error.column}" + (
            f", step {error.step}" if error.step >= 0 else ""
        )
        typer.echo(f"error: {where}: {error.value}: {error.message}", err=True)
    if plan.errors or any("GAP_LOOSE" in row["status"] for row in rows):
        raise typer.Exit(FAILED)


def _rows(net: "Network", plan: "Dispatch") -> list[dict[str, Any]]:
    """A row a region and step: MW, MWh, currency per MWh, kg per kWh."""
    columns = {
        "load_mw": net.load_mw,
        "ren_mw": plan.ren_used_mw,
        "curtailed_mw": plan.curtailed_mw,
        "supply_mw": plan.supply_mw.sum(axis=1),
        "import_mw": plan.import_mw,
        "export_mw": plan.export_mw,
        "charge_mw": plan.charge_mw.sum(axis=1),
        "discharge_mw": plan.discharge_mw.sum(axis=1),
        "soc_mwh": plan.soc_mwh.sum(axis=1),
        "flex_mw": plan.flex_mw,
        "shed_mw": plan.shed_mw,
        "price": plan.bus_price,
        "ci_average": plan.ci_average,
        "ci_marginal": plan.ci_marginal,
    }
    return [
        {
            "region": region,
            "step": t,
            **{name: round(float(column[r, t]), 4) + 0.0 for name, column in columns.items()},
            "status": "|".join(str(flag.name) for flag in plan.status[r]) or "OK",
        }
        for r, region in enumerate(net.regions)
        for t in range(net.shape[1])
    ]


def _proof(plan: "Dispatch") -> dict[str, Any]:
    return {
        "objective": plan.objective,
        "lower_bound": plan.lower_bound,
        "gap_rel": plan.gap_rel,
        "max_residual": plan.max_residual,
        "method": plan.method,
    }


def _say_proof(plan: "Dispatch") -> None:
    out().print(
        f"cost {plan.objective:,.2f}; no plan costs less than {plan.lower_bound:,.2f} "
        f"(gap {plan.gap_rel:.1e}, by {plan.method}); rows kept to {plan.max_residual:.0e}"
    )


def _picture(net: "Network", plan: "Dispatch") -> None:
    """What serves each region, stacked; a column a step, or the mean of several steps."""
    import numpy as np
    from rich.text import Text

    arriving = np.zeros_like(net.load_mw)
    np.add.at(arriving, net.link_to, plan.flow_mw * (1 - net.link_loss)[:, None])
    parts = np.stack(
        [
            plan.ren_used_mw,
            plan.supply_mw.sum(axis=1),
            plan.discharge_mw.sum(axis=1),
            arriving,
            plan.import_mw,
            plan.shed_mw,
        ]
    )
    console = out()
    steps = net.shape[1]
    wide = max(1, -(-steps // max(20, min(console.width, 160) - 12)))  # steps a column
    for r, region in enumerate(net.regions):
        stack = np.stack([parts[:, r, t : t + wide].mean(axis=1) for t in range(0, steps, wide)])
        top = float(stack.sum(axis=1).max())
        if top <= 0:
            note(f"{region}: nothing to show")
            continue
        edges = np.rint(np.cumsum(stack, axis=1) / top * _HEIGHT)
        console.print(Text(f"{region}, MW that serve it", style="bold"))
        for level in range(_HEIGHT, 0, -1):
            line = Text(f"{top * level / _HEIGHT:9.2f} ")
            for column in edges:
                k = int(np.searchsorted(column, level))
                name, letter, colour = _SOURCES[k] if k < len(_SOURCES) else ("", " ", "")
                line.append(letter, style=colour)
            console.print(line)
    legend = Text("          ")
    for name, letter, colour in _SOURCES:
        legend.append(f"{letter} {name}  ", style=colour)
    console.print(legend)
