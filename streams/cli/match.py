"""`gridloom match`: which job runs where and when, from files, with prices, reasons and proof."""

from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import JsonOption, note, out, print_json, print_table

if TYPE_CHECKING:
    from kernels.match import BadInput, Plan, Policy, Terms
    from streams.cli.match_files import Matching

_SHOWN = 20  # placements and prices shown to people; --json has all
_BAD_ROWS = 1
_WEEK_MIN = 7 * 24 * 60
_ONE_MORE = ("core", "accelerator", "MW", "Gbit/s", "green MW")  # in the order of RESOURCES


def register(app: typer.Typer) -> None:
    app.command("match")(match)


def match(
    jobs: Annotated[str, typer.Argument(metavar="JOBS", help="Jobs; - = NDJSON from a pipe.")],
    sites: Annotated[str, typer.Argument(metavar="SITES", help="Sites with prices by slot.")],
    network: Annotated[
        str | None, typer.Option(help="from_hub, to_hub, rtt_ms, price_per_gb; none = no limits.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="FILE", help="Policy: weights, rules, quotas, shares.")
    ] = None,
    slot_min: Annotated[int, typer.Option(min=1, max=_WEEK_MIN, help="Minutes of a slot.")] = 60,
    carbon_price: Annotated[
        float,
        typer.Option(min=0, max=1e9, help="Currency per kg of CO2, where the policy has none."),
    ] = 0.0,
    gap: Annotated[float, typer.Option(min=0, help="Stop at this certified gap.")] = 1e-3,
    json: JsonOption = False,
) -> None:
    """Solve files (.json, .ndjson, .csv, .parquet): placements, prices, rejections, gap and time.

    Jobs need job_id, duration_ms and reject_cost; sites need site_id and price_per_mwh. Resources
    are cores_milli, accel_milli, power_w, network_mbps and green_w in both; a site's speeds are
    rate_fp64_ppm ... rate_int8_ppm, as in an offer. Names are tenant,
    pairing, apart (a group of which no two share a site) and together (one that runs as one). The
    policy is an entry of the registry. A bad row is left out and named; the others are matched, and
    the exit code is 1.

    Example: `gridloom match jobs.csv sites.json --policy policy.json --carbon-price 0.06`
    """
    from kernels.match import Policy
    from kernels.match import match as solve
    from streams.cli.match_files import read

    given = read(jobs, sites, network, slot_min * 60_000)
    began = perf_counter()
    weights = Policy(carbon_price_per_kg=carbon_price, gap_target=gap)
    weights, terms, unknown = _under(policy, given, weights)
    plan = solve(given.jobs, given.sites, given.series, given.network, weights, terms=terms)
    seconds = perf_counter() - began
    bad = given.errors + unknown + [_in_file(given, error) for error in plan.errors]
    rows = _placements(given, plan, terms)
    prices, worth = _prices(given, plan), _worth(given, plan)
    quotas = _quotas(plan, terms)
    summary = _summary(plan, terms, len(bad), seconds)
    if json:
        kinds = {"placement": rows, "price": prices, "quota": quotas, "worth": worth}
        kinds["summary"] = [summary]
        for kind, found in kinds.items():
            for row in found:
                print_json({"kind": kind, **row})
        for error in bad:
            print_json({"kind": "error", **error._asdict()})
    else:
        _show(rows, prices, quotas, worth, summary)
    for error in bad:
        note(f"{error.table}, row {error.row}, {error.column}: {error.value}; {error.message}")
    if bad:
        raise typer.Exit(_BAD_ROWS)


def _under(
    file: str | None, given: "Matching", weights: "Policy"
) -> tuple["Policy", "Terms", list["BadInput"]]:
    """What the policy makes of the weights; its terms; names that the sites do not have."""
    from kernels.match import BadInput, Terms
    from schemas import registry
    from schemas.errors import ConfigError, RegistryError
    from streams.cli.input import read_bytes
    from streams.policy import Places, longest_ms, terms_of, unknown_names, weighed

    if file is None:
        return weights, Terms.of(given.sites), []
    try:
        entry = registry.parse_entry(read_bytes(file))
    except RegistryError as error:
        raise ConfigError(f"{file}: {error.message}", error.next_step) from None
    if not isinstance(entry, registry.Policy):
        raise ConfigError(f"{file} is a {entry.kind}", 'name a file with an entry of kind "policy"')
    ids = given.sites.site_id.tolist()
    places = Places(
        ids,
        given.hubs,
        given.sites.capacity,
        given.accounts,
        given.pairings,
        slot_ms=given.series.slot_ms,
        longest_ms=longest_ms(given.jobs, given.sites),
    )
    message = "name a hub or site of the file of sites"
    unknown = [
        BadInput("policy", 1, field, name, message) for field, name in unknown_names(entry, places)
    ]
    return weighed(entry, weights), terms_of(entry, places), unknown


def _in_file(given: "Matching", error: "BadInput") -> "BadInput":
    row = given.job_row[error.row] if error.table == "jobs" else error.row + 1
    return error._replace(row=row)


def _placements(given: "Matching", plan: "Plan", terms: "Terms") -> list[dict[str, Any]]:
    """A row a job: where and when, at what cost, or why not and what was short."""
    from kernels.match import LIMITED, Reason

    quotas = terms.quotas.quota_id.tolist()
    ids = given.sites.site_id.tolist()
    rows = []
    for at, job in enumerate(plan.job_id.tolist()):
        site, short_at = int(plan.site[at]), int(plan.reason_site[at])
        short_of, quota = int(plan.reason_resource[at]), int(plan.reason_quota[at])
        rows.append(
            {
                "job_id": job,
                "site": ids[site] if site >= 0 else None,
                "slot": int(plan.slot[at]) if site >= 0 else None,
                "slots": int(plan.slots[at]),
                "cost_micro": int(plan.cost_micro[at]),
                "reason": Reason(int(plan.reason[at])).name.lower(),
                "short_site": ids[short_at] if short_at >= 0 else None,
                "short_resource": LIMITED[short_of] if short_of >= 0 else None,
                "short_quota": quotas[quota] if quota >= 0 else None,
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


def _quotas(plan: "Plan", terms: "Terms") -> list[dict[str, Any]]:
    """Of every limit of a quota that is used: how much, and what one more unit is worth."""
    from kernels.match import LIMITED

    limit = terms.quotas.limit
    used = (limit >= 0) & ((plan.quota_used > 0) | (plan.quota_prices > 0))
    return [
        {
            "quota": str(terms.quotas.quota_id[q]),
            "slot": t,
            "limits": LIMITED[k],
            "price_per_unit": float(plan.quota_prices[q, t, k]),
            "used": int(plan.quota_used[q, t, k]),
            "limit": int(limit[q, t, k]),
        }
        for q, t, k in zip(*(at.tolist() for at in used.nonzero()), strict=True)
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


def _summary(plan: "Plan", terms: "Terms", bad: int, seconds: float) -> dict[str, Any]:
    from kernels.match import Reason

    rejected = Counter(Reason(code).name.lower() for code in plan.reason[plan.site < 0].tolist())
    named = plan.reason_quota[(plan.reason == Reason.REJECTED_QUOTA) & (plan.reason_quota >= 0)]
    by_quota = Counter(terms.quotas.quota_id[named].tolist())
    return {
        "jobs": len(plan.job_id),
        "placed": int((plan.site >= 0).sum()),
        "rejected": dict(sorted(rejected.items())),
        "rejected_by_quota": dict(sorted(by_quota.items())),
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
    quotas: list[dict[str, Any]],
    worth: list[dict[str, Any]],
    summary: dict[str, Any],
) -> None:
    for title, found in (
        ("Placements", rows),
        ("Prices of what is short", prices),
        ("Quotas", quotas),
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
    for quota, jobs in summary["rejected_by_quota"].items():
        typer.echo(f"    by quota {quota}: {jobs:,}")
    typer.echo(
        f"cost {summary['primal']:.6g}, no plan costs less than {summary['dual']:.6g}: certified "
        f"gap {100 * summary['gap_rel']:.4f} % ({summary['status']}), {summary['seconds']:.3f} s"
    )
