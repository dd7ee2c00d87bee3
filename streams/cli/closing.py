"""The closing report for people: MWh and currency, from the exact integers of streams.report."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from schemas.units import MJ_PER_KWH, MJ_PER_MWH, half_even
from streams.cli.console import out, print_table

if TYPE_CHECKING:
    from streams.report import Bill, Report

_MICRO = 1_000_000
# heading -> columns that are added, columns that are taken off
_ENERGY_COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "load": (("load_mj",), ()),
    "compute": (("compute_mj",), ()),
    "flexible": (("flex_mj",), ()),
    "ren. used": (("ren_used_mj",), ()),
    "curtailed": (("curtailed_mj",), ()),
    "charged": (("charge_mj",), ()),
    "discharged": (("discharge_mj",), ()),
    "supply": (("supply_mj",), ()),
    "links in-out": (("link_in_mj",), ("link_out_mj",)),
    "import": (("import_mj",), ()),
    "export": (("export_mj",), ()),
    "shed": (("shed_mj",), ()),
}
_ALWAYS = ("load", "compute", "ren. used", "curtailed", "charged", "discharged", "import")


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


def summed(regions: Iterable[dict[str, int]]) -> dict[str, int]:
    """Column -> mJ over all regions."""
    total: Counter[str] = Counter()
    for by in regions:
        total.update(by)
    return dict(total)


def _net(by: dict[str, int], plus: tuple[str, ...], minus: tuple[str, ...]) -> int:
    return sum(by.get(name, 0) for name in plus) - sum(by.get(name, 0) for name in minus)


def _heading(text: str) -> None:
    out().print(f"\n{text}", style="bold", markup=False)


def _energy(report: "Report") -> None:
    _heading(f"Energy by hub, MWh, {report.ticks} ticks carried out")
    regions = report.energy_mj | {"all": summed(report.energy_mj.values())}
    table = {
        heading: [_net(by, *parts) for by in regions.values()]
        for heading, parts in _ENERGY_COLUMNS.items()
    }
    shown = [heading for heading, cells in table.items() if heading in _ALWAYS or any(cells)]
    rows = [
        [region, *(decimals(table[heading][row], MJ_PER_MWH, 1) for heading in shown)]
        for row, region in enumerate(regions)
    ]
    print_table("", ("hub", *shown), rows)
    gaps = [f"{name} {gap:.2g}" for name, gap in report.worst_gap_rel.items() if gap is not None]
    if gaps:
        typer.echo(f"worst certified gap of a tick, as a share of its cost: {', '.join(gaps)}")


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
