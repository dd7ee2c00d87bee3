"""`gridloom balance`: a case of regions, storages and links as a certified plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import JsonOption, out, print_json, print_table
from streams.cli.errors import FAILED
from streams.cli.input import FileArgument

if TYPE_CHECKING:
    from kernels.balance import Dispatch, Network

PlotOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Also draw the plan as a picture: .png or .svg."),
]


def register(app: typer.Typer) -> None:
    app.command("balance")(balance)


def balance(file: FileArgument, as_json: JsonOption = False, plot: PlotOption = None) -> None:
    """Plan a case at least cost: dispatch, storage, imports, curtailment, flexible load; proven.

    FILE is JSON, or Parquet with one row: `regions` (names), `dt_h`, `load_mw` [region][step], and
    any other column of the balance (kernels/balance/README.md), each as a number for all or as
    nested lists. Prints the plan, a picture of what serves each region, prices and the gap.

    `--plot` draws the same as stacked bars with what is taken and the price (needs
    `pip install 'gridloom[plot]'`).

    A bad value takes its region out and is named; exit code 1 then, or where the gap is loose.

    Example: `gridloom balance tests/cases/three_regions.json --plot plan.png`
    """
    from kernels.balance import balance as solve
    from streams.cli.balance_picture import draw, print_picture, require_plot
    from streams.cli.case import network_of, read_case

    if plot is not None:
        require_plot(plot)
    network = network_of(read_case(file))
    plan = solve(network)
    rows = _rows(network, plan)
    if as_json:
        for row in rows:
            print_json(row)
        print_json(_proof(plan))
    else:
        print_table("", list(rows[0]) if rows else [], [list(row.values()) for row in rows])
        print_picture(network, plan)
        _say_proof(plan)
    if plot is not None:
        draw(network, plan, plot)
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
