"""`gridloom match`: which job runs where and when, from files, with prices, reasons and proof."""

from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import JsonOption, note, out, print_json, print_table

if TYPE_CHECKING:
    from kernels.match import BadInput, Plan
    from streams.cli.match_files import Matching

_SHOWN = 20  # placements and prices shown to people; --json has all
_BAD_ROWS = 1
_ONE_MORE = ("core", "accelerator", "MW", "Gbit/s", "green MW")  # in the order of RESOURCES


def register(app: typer.Typer) -> None:
    app.command("match")(match)


def match(
    jobs: Annotated[str, typer.Argument(metavar="JOBS", help="Jobs; - = NDJSON from a pipe.")],
    sites: Annotated[str, typer.Argument(metavar="SITES", help="Sites with prices by slot.")],
    network: Annotated[
        str | None, typer.Option(help="from_hub, to_hub, rtt_ms, price_per_gb; none = no limits.")
    ] = None,
    slot_min: Annotated[int, typer.Option(min=1, help="Minutes of a slot.")] = 60,
    carbon_price: Annotated[float, typer.Option(min=0, help="Currency per kg of CO2.")] = 0.0,
    gap: Annotated[float, typer.Option(min=0, help="Stop at this certified gap.")] = 1e-3,
    json: JsonOption = False,
) -> None:
    """Solve files (.json, .ndjson, .csv, .parquet): placements, prices, rejections, gap and time.

    Jobs need job_id, duration_ms and reject_cost; sites need site_id and price_per_mwh. Resources
    are cores_milli, accel_milli, power_w, network_mbps and green_w in both. A bad row is left out
    and named; the others are matched, and the exit code is 1.

    Example: `gridloom match jobs.csv sites.json --carbon-price 0.06`
    """
    from kernels.match import Policy
    from kernels.match import match as solve
    from streams.cli.match_files import read

    given = read(jobs, sites, network, slot_min * 60_000)
    began = perf_counter()
    policy = Policy(carbon_price_per_kg=carbon_price, gap_target=gap)
    plan = solve(given.jobs, given.sites, given.series, given.network, policy)
    seconds = perf_counter() - began
    bad = given.errors + [_in_file(given, error) for error in plan.errors]
    rows = _placements(given, plan)
    prices, worth = _prices(given, plan), _worth(given, plan)
    summary = _summary(plan, len(bad), seconds)
    if json:
        kinds = {"placement": rows, "price": prices, "worth": worth, "summary": [summary]}
        for kind, found in kinds.items():
            for row in found:
                print_json({"kind": kind, **row})
        for error in bad:
            print_json({"kind": "error", **error._asdict()})
    else:
        _show(rows, prices, worth, summary)
    for error in bad:
        note(f"{error.table}, row {error.row}, {error.column}: {error.value}; {error.message}")
    if bad:
        raise typer.Exit(_BAD_ROWS)


def _in_file(given: "Matching", error: "BadInput") -> "BadInput":
    row = given.job_row[error.row] if error.table == "jobs" else error.row + 1
    return error._replace(row=row)


def _placements(given: "Matching", plan: "Plan") -> list[dict[str, Any]]:
    """A row a job: where and when, at what cost, or why not and what was short."""
    from kernels.match import RESOURCES, Reason

    ids = given.sites.site_id.tolist()
    rows = []
    for at, job in enumerate(plan.job_id.tolist()):
        site, short_at = int(plan.site[at]), int(plan.reason_site[at])
        short_of = int(plan.reason_resource[at])
        rows.append(
            {
                "job_id": job,
                "site": ids[site] if site >= 0 else None,
                "slot": int(plan.slot[at]) if site >= 0 else None,
                "slots": int(plan.slots[at]),
                "cost_micro": int(plan.cost_micro[at]),
                "reason": Reason(int(plan.reason[at])).name.lower(),
                "short_site": ids[short_at] if short_at >= 0 else None,
                "short_resource": RESOURCES[short_of] if short_of >= 0 else None,
                "short_by": float(plan.relax[at]) or None,
                "second_cost": float(plan.second_cost[at]),
            }
        )
    return rows


def _prices(given: "Matching", plan: "Plan") -> list[dict[str, Any]]:
    """What one more unit is worth, where it is worth anything; the dearest first."""
    from kernels.match import RESOURCES

    sites, slots, kinds = plan.prices.nonzero()
    worth = plan.prices[sites, slots, kinds] * plan.used[sites, slots, kinds]
    return [
        {
            "site": str(given.sites.site_id[sites[at]]),
            "slot": int(slots[at]),
            "resource": RESOURCES[kinds[at]],
            "price_per_unit": float(plan.prices[sites[at], slots[at], kinds[at]]),
            "used": int(plan.used[sites[at], slots[at], kinds[at]]),
            "capacity": int(given.sites.capacity[sites[at], slots[at], kinds[at]]),
        }
        for at in (-worth).argsort(kind="stable").tolist()
    ]


def _worth(given: "Matching", plan: "Plan") -> list[dict[str, Any]]:
    """What one more core, accelerator, MW or Gbit/s at a site would save over all slots."""
    worth = plan.worth()
    return [
        {"site": str(given.sites.site_id[site]), "one_more": _ONE_MORE[kind], "saves": saved}
        for (site, kind), saved in zip(
            zip(*(at.tolist() for at in worth.nonzero()), strict=True),
            worth[worth.nonzero()].tolist(),
            strict=True,
        )
    ]


def _summary(plan: "Plan", bad: int, seconds: float) -> dict[str, Any]:
    from kernels.match import Reason

    rejected = Counter(Reason(code).name.lower() for code in plan.reason[plan.site < 0].tolist())
    return {
        "jobs": len(plan.job_id),
        "placed": int((plan.site >= 0).sum()),
        "rejected": dict(sorted(rejected.items())),
        "moves": plan.moves,
        "primal": plan.primal,
        "dual": plan.dual,
        "gap_rel": plan.gap_rel,
        "status": str(plan.status.name).lower(),
        "bad_fields": bad,
        "seconds": seconds,
    }


def _show(
    rows: list[dict[str, Any]],
    prices: list[dict[str, Any]],
    worth: list[dict[str, Any]],
    summary: dict[str, Any],
) -> None:
    for title, found in (
        ("Placements", rows),
        ("Prices of what is short", prices),
        ("Worth of one more", worth),
    ):
        if not found:
            continue
        out().print(f"\n{title}", style="bold", markup=False)
        print_table("", list(found[0]), [list(row.values()) for row in found[:_SHOWN]])
        if len(found) > _SHOWN:
            typer.echo(f"... and {len(found) - _SHOWN:,} more: --json has all")
    out().print("\nPlan", style="bold", markup=False)
    typer.echo(f"placed {summary['placed']:,} of {summary['jobs']:,} jobs")
    for reason, jobs in summary["rejected"].items():
        typer.echo(f"  {reason}: {jobs:,}")
    typer.echo(
        f"cost {summary['primal']:.6g}, no plan costs less than {summary['dual']:.6g}: certified "
        f"gap {100 * summary['gap_rel']:.4f} % ({summary['status']}), {summary['seconds']:.3f} s"
    )
