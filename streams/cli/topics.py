"""`gridloom topics`: the catalogue, what of it is on the cluster, and the columns of a topic."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import JsonOption, note, print_json, print_table

if TYPE_CHECKING:
    from schemas import Topic
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    app.command("topics")(topics)


def topics(
    create: Annotated[
        bool, typer.Option("--create", help="Create what is missing, journals included.")
    ] = False,
    describe: Annotated[
        str, typer.Option(metavar="TOPIC", help="Columns, types and units of one topic.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the topics: content, key, partitions, who writes and reads, messages on the cluster.

    Example: `gridloom topics --create`, `gridloom topics --describe usage`
    """
    if describe:
        _describe(describe, as_json)
        return
    from schemas.errors import GridloomError
    from streams.cli.connection import connected_settings, run

    try:
        known = connected_settings()
        if create:
            for name in run(_create(known)):
                note(f"created {name}")
        ends = run(_ends(known))
    except GridloomError as error:
        if create:
            raise
        note(f"the catalogue alone, no cluster: {error}")
        ends = None
    _list(ends, as_json)


async def _create(settings: "Settings") -> list[str]:
    import streams.agents  # noqa: F401  (registers the stages: their journals are created too)
    from streams.topics import create_topics

    return await create_topics(settings)


async def _ends(settings: "Settings") -> dict[str, dict[int, int]]:
    """Topic without namespace -> partition -> messages ever written."""
    from schemas import TOPICS
    from streams.topics import end_offsets

    ends = await end_offsets(settings, [settings.topic(name) for name in TOPICS])
    return {name.removeprefix(settings.namespace): by for name, by in ends.items()}


def _list(ends: dict[str, dict[int, int]] | None, as_json: bool) -> None:
    from schemas import TOPICS

    listed = [_summary(topic, ends) for topic in TOPICS.values()]
    if as_json:
        for item in listed:
            print_json(item)
        return
    heads = ("topic", "form", "parts", "messages", "partitioned by", "written by", "read by")
    print_table(
        "",
        (*heads, "content"),
        [
            (
                item["topic"],
                f"{item['form']} v{item['version']}",
                item["partitions"],
                "missing"
                if ends is not None and not item["partitions_present"]
                else item["messages"],
                item["partition_by"] or ("key" if item["compacted"] else "writer's choice"),
                ", ".join(item["written_by"]),
                ", ".join(item["read_by"]),
                item["doc"],
            )
            for item in listed
        ],
    )


def _summary(topic: "Topic", ends: dict[str, dict[int, int]] | None) -> dict[str, Any]:
    item: dict[str, Any] = {
        "topic": topic.name,
        "doc": topic.doc,
        "type": topic.event_type,
        "version": topic.version,
        "form": topic.form,
        "key": topic.key,
        "partitions": topic.partitions,
        "partition_by": topic.partition_by,
        "compacted": topic.compacted,
        "written_by": topic.written_by,
        "read_by": topic.read_by,
    }
    found = ends.get(topic.name, {}) if ends is not None else {}
    item["partitions_present"] = len(found) if ends is not None else None
    item["messages"] = sum(found.values()) if ends is not None else None
    return item


def _describe(name: str, as_json: bool) -> None:
    from schemas import TOPICS
    from schemas.errors import ConfigError

    topic = TOPICS.get(name)
    if topic is None:
        raise ConfigError(f"no topic {name!r}", f"choose from {', '.join(TOPICS)}")
    columns = [
        {
            "column": c.name,
            "type": "symbol" if str(c.type).startswith("dictionary") else str(c.type),
            "unit": c.unit,
            "required": c.required,
            "key": c.name in topic.key,
            "doc": c.doc,
        }
        for c in topic.columns
    ]
    if as_json:
        print_json(_summary(topic, None) | {"columns": columns})
        return
    typer.echo(f"{topic.name} ({topic.event_type}): {topic.doc}")
    print_table(
        "",
        ("column", "type", "unit", "", "key", "content"),
        [
            (
                c["column"],
                c["type"],
                c["unit"],
                "" if c["required"] else "optional",
                "key" if c["key"] else "",
                c["doc"],
            )
            for c in columns
        ],
    )
    typer.echo(
        "JSON form: one object a row with these names; integers whole, bytes in base64; an "
        "optional column without content is left out."
    )
