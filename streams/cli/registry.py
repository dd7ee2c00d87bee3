"""`gridloom registry` and `gridloom contract`: what is registered, and from when."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import JsonOption, note, print_json, print_table, utc
from streams.cli.input import FileArgument, read_bytes

if TYPE_CHECKING:
    from schemas.registry import AnyEntry
    from streams.settings import Settings

registry = typer.Typer(no_args_is_help=True, help="Sites, meters, accounts, tariffs, contracts.")
contract = typer.Typer(no_args_is_help=True, help="Who may read what, each by a topic of its own.")


def register(app: typer.Typer) -> None:
    app.add_typer(registry, name="registry")
    app.add_typer(contract, name="contract")


@registry.command("apply")
def registry_apply(file: FileArgument = "-") -> None:
    """Register entries (JSON lines or a JSON array): all are checked before the first is sent.

    A contract's topic out.CONTRACT is created first. Entries are dated by valid_from_ms; nothing
    is overwritten unless kind, id and date are the same.

    Example: `gridloom registry apply entries.ndjson`
    """
    _apply(file)


@contract.command("apply")
def contract_apply(file: FileArgument = "-") -> None:
    """Register contracts only, and create the topic out.CONTRACT of each.

    Example: `gridloom contract apply contract.json`
    """
    _apply(file, only="contract")


@registry.command("list")
def registry_list(
    kind: Annotated[str, typer.Option(help="Only this kind, e.g. meter.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the entries in force and to come, in the order of kind, id and date.

    Example: `gridloom registry list --kind tariff`
    """
    from schemas.errors import ConfigError
    from schemas.registry import KINDS
    from streams.cli.connection import connected_settings, run

    if kind and kind not in KINDS:
        raise ConfigError(f"no kind {kind!r}", f"choose from {', '.join(KINDS)}")
    entries = run(_entries(connected_settings()))
    chosen = [entry for entry in entries if kind in ("", entry["kind"])]
    if as_json:
        for entry in chosen:
            print_json(entry)
        return
    rest = ("kind", "id", "valid_from_ms")
    print_table(
        "",
        ("kind", "id", "valid from", "entry"),
        [
            (
                entry["kind"],
                entry["id"],
                utc(entry.get("valid_from_ms", 0)),
                ", ".join(f"{k}={v}" for k, v in entry.items() if k not in rest),
            )
            for entry in chosen
        ],
    )


def _apply(file: str, only: str = "") -> None:
    from streams.cli.connection import connected_settings, run

    entries = parse_entries(read_bytes(file), only)
    created = run(_send(connected_settings(), entries))
    for topic in created:
        note(f"created {topic}")
    note(f"{len(entries)} entries registered")


def parse_entries(value: bytes, only: str = "") -> "list[AnyEntry]":
    """Entries of NDJSON or a JSON array, all checked. Raises RegistryError that names the entry."""
    import orjson

    from schemas.errors import RegistryError
    from schemas.registry import parse_entry

    lines = [line for line in value.splitlines() if line.strip()]
    if value.lstrip()[:1] == b"[":
        try:
            lines = [orjson.dumps(item) for item in orjson.loads(value)]
        except orjson.JSONDecodeError as error:
            raise RegistryError(f"not a JSON array: {error}", "give one, or JSON lines") from None
    elif len(lines) > 1 and value.lstrip()[:1] == b"{":
        lines = _whole_object(value) or lines
    if not lines:
        raise RegistryError("no entry given", "give JSON lines or a JSON array")
    entries: list[AnyEntry] = []
    for number, line in enumerate(lines, 1):
        try:
            entry = parse_entry(line)
        except RegistryError as error:
            raise RegistryError(
                f"entry {number}: {error.message}; nothing was sent", error.next_step
            ) from None
        if only not in ("", entry.kind):
            raise RegistryError(
                f"entry {number} is a {entry.kind}, not a {only}; nothing was sent",
                "use `gridloom registry apply` for other kinds",
            )
        entries.append(entry)
    return entries


def _whole_object(value: bytes) -> list[bytes] | None:
    """One entry written over several lines."""
    import orjson

    try:
        return [orjson.dumps(orjson.loads(value))]
    except orjson.JSONDecodeError:
        return None


async def _send(settings: "Settings", entries: "list[AnyEntry]") -> list[str]:
    """Send all in order; returns the contract topics that were created."""
    import orjson

    from schemas import REGISTRY
    from schemas.codec import JSON, event_headers
    from schemas.delivery import out_topic
    from schemas.registry import (
        Contract,
        Domain,
        check_tree,
        format_entry,
        newest_domains,
        parse_entry,
    )
    from streams.cli.connection import require_topics
    from streams.client import producer
    from streams.topics import create_topics

    topic = settings.topic(REGISTRY.name)
    await require_topics(settings, topic)
    if any(isinstance(entry, Domain) for entry in entries):
        known = [entry for entry in await _entries(settings) if entry.get("kind") == "domain"]
        parsed = [parse_entry(orjson.dumps(entry)) for entry in known]
        check_tree(newest_domains([*parsed, *entries]))
    outs = [out_topic(entry.id) for entry in entries if isinstance(entry, Contract)]
    created = await create_topics(settings, outs) if outs else []
    async with producer(settings) as client:
        for entry in entries:
            headers = event_headers(REGISTRY.event_type, entry.key, "/gridloom/admin", JSON)
            await client.send(
                topic, format_entry(entry), key=entry.key.encode(), partition=0, headers=headers
            )
        await client.flush()
    return created


async def _entries(settings: "Settings") -> list[dict[str, Any]]:
    """The last record of each key, deleted ones left out."""
    from schemas import REGISTRY
    from schemas.codec import header_map
    from streams.cli.connection import require_topics
    from streams.client import read_all
    from streams.rows import rows_of

    topic = settings.topic(REGISTRY.name)
    await require_topics(settings, topic)
    known: dict[bytes, list[dict[str, Any]]] = {}
    async for record in read_all(settings, topic):
        known[record.key] = rows_of(REGISTRY.name, record.value, header_map(record.headers))
    entries = [entry for rows in known.values() for entry in rows]
    return sorted(
        entries, key=lambda e: (e.get("kind", ""), e.get("id", ""), e.get("valid_from_ms", 0))
    )
