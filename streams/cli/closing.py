"""The closing report for people: MWh and currency, from the exact integers of streams.report."""

from typing import TYPE_CHECKING

import typer

from schemas.units import MJ_PER_KWH, MJ_PER_MWH, half_even
from streams.cli.console import out, print_table

if TYPE_CHECKING:
    from streams.report import Bill, Report

_MICRO = 1_000_000
_ENERGY_COLUMNS = (
    ("load", "load_mj"),
    ("compute", "compute_mj"),
    ("renewable used", "ren_used_mj"),
    ("curtailed", "curtailed_mj"),
    ("charged", "charge_mj"),
    ("discharged", "discharge_mj"),
    ("own supply", "supply_mj"),
    ("import", "import_mj"),
    ("export", "export_mj"),
)


def show_report(report: "Report") -> None:
    """Print all of it to standard output."""
    _energy(report)
    _placements(report)
    if report.bill:
        _bill(report.bill)
    _identity(report)
    _dead_letters(report)
    rate = f"{report.rows_per_s:,.0f} rows/s, from the first sent to the last billed and delivered"
    typer.echo(f"\n{report.readings:,} readings in {report.seconds:.1f} s: {rate}")


def decimals(amount: int, unit: int, digits: int) -> str:
    """amount / unit with so many digits, rounded once, half to even."""
    scale = int(10**digits)
    scaled = half_even(amount * scale, unit)
    sign, scaled = ("-" if scaled < 0 else ""), abs(scaled)
    return f"{sign}{scaled // scale:,}.{scaled % scale:0{digits}d}"


def _heading(text: str) -> None:
    out().print(f"\n{text}", style="bold", markup=False)


def _energy(report: "Report") -> None:
    _heading(f"Energy by hub, MWh, {report.ticks} ticks carried out")
    rows = [
        [region, *(decimals(by[column], MJ_PER_MWH, 1) for _, column in _ENERGY_COLUMNS)]
        for region, by in report.energy_mj.items()
    ]
    sums = [sum(by[column] for by in report.energy_mj.values()) for _, column in _ENERGY_COLUMNS]
    rows.append(["all", *(decimals(total, MJ_PER_MWH, 1) for total in sums)])
    print_table("", ("hub", *(name for name, _ in _ENERGY_COLUMNS)), rows)
    if report.worst_gap_rel is not None:
        typer.echo(f"worst certified gap of a tick: {report.worst_gap_rel:.2g} of its cost")


def _placements(report: "Report") -> None:
    _heading("Jobs")
    states = ", ".join(f"{name} {jobs}" for name, jobs in report.placements.states.items())
    typer.echo(states or "none")
    for reason, jobs in report.placements.rejected.items():
        typer.echo(f"  rejected, {reason}: {jobs}")


def _bill(bill: "Bill") -> None:
    _heading(f"Bill of {bill.account_id}, {bill.lines} lines")
    rows = [
        (
            decimals(price, _MICRO, 3),
            decimals(quantity_mj, MJ_PER_KWH, 3),
            decimals(amount_micro, _MICRO, 2),
        )
        for price, (quantity_mj, amount_micro) in sorted(bill.by_price.items())
    ]
    total = decimals(bill.quantity_mj, MJ_PER_KWH, 3), decimals(bill.amount_micro, _MICRO, 2)
    rows.append(("total", *total))
    print_table("", (f"{bill.currency}/kWh", "kWh", bill.currency), rows)
    if bill.delivered_micro is None:
        return
    same = "the same" if bill.delivered_micro == bill.amount_micro else "NOT the same"
    read = decimals(bill.delivered_micro, _MICRO, 6)
    typer.echo(f"read as JSON from {bill.contract}: {read} {bill.currency}, {same}")


def _identity(report: "Report") -> None:
    _heading("Every row: consumed = accepted + duplicate + superseded + dead-lettered")
    terms = ("consumed", "accepted", "duplicate", "superseded", "dead_lettered")
    print_table(
        "",
        ("agent.topic", *terms, "holds"),
        [
            (name, *(f"{by[term]:,}" for term in terms), "yes" if report.holds(name) else "NO")
            for name, by in report.identity.items()
        ],
    )


def _dead_letters(report: "Report") -> None:
    _heading("Dead letters by reason")
    found = ", ".join(f"{reason} {n}" for reason, n in report.dead_letters.items())
    typer.echo(found or "none")
