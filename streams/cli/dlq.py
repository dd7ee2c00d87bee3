"""`gridloom dlq`: what was refused, why, and sending it again."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import JsonOption, note, print_json, print_table, utc

if TYPE_CHECKING:
    from streams.dlq import Letter

dlq = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, replay.")

ReasonOption = Annotated[str, typer.Option(help="Only this reason, e.g. unknown_meter.")]
_MESSAGE_CHARS = 90


def register(app: typer.Typer) -> None:
    app.add_typer(dlq, name="dlq")


@dlq.command("list")
def dlq_list(
    reason: ReasonOption = "",
    agent: Annotated[str, typer.Option(help="Only what this agent refused.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many letters.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the refused rows, each once, with reason, field and where they came from.

    Example: `gridloom dlq list --reason unknown_meter`
    """
    from streams.cli.connection import connected_settings, run
    from streams.dlq import read_letters

    _check_reason(reason)
    letters = run(read_letters(connected_settings(), reason, agent))
    if as_json:
        for letter in letters[:limit]:
            print_json(as_object(letter))
        return
    heads = ("partition", "offset", "reason", "field", "agent", "source", "message")
    print_table("", heads, [_line(letter) for letter in letters[:limit]])
    if len(letters) > limit:
        note(f"... and {len(letters) - limit} more (--limit)")
    counts = Counter(letter.fields["reason"] for letter in letters)
    found = ", ".join(f"{name} {n}" for name, n in counts.most_common())
    note(f"{len(letters)} dead letters" + (f": {found}" if found else ""))


@dlq.command("show")
def dlq_show(
    partition: Annotated[int, typer.Argument(help="Partition of dead-letter.")],
    offset: Annotated[int, typer.Argument(help="Offset of dead-letter.")],
    as_json: JsonOption = False,
) -> None:
    """Show the letters of one message in full, the original bytes included.

    Example: `gridloom dlq show 0 12`
    """
    from schemas import REASONS
    from streams.cli.connection import connected_settings, run
    from streams.dlq import letters_at, original_text

    for letter in run(letters_at(connected_settings(), partition, offset)):
        if as_json:
            print_json(as_object(letter))
            continue
        shown = letter.fields
        typer.echo(f"reason    {shown['reason']}: {REASONS.get(shown['reason'], '')}")
        typer.echo(f"field     {shown['field'] or '(the whole message)'}")
        typer.echo(f"message   {shown['message']}")
        typer.echo(f"agent     {shown['agent']}")
        typer.echo(f"source    {letter.source} (topic/partition/offset/row)")
        typer.echo(f"received  {utc(shown['received_ms'])}")
        typer.echo(f"original  {shown['content_type'] or '(no content type)'}")
        typer.echo(f"{original_text(letter)}\n")


@dlq.command("replay")
def dlq_replay(
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send refused input again, byte for byte, with its first receipt time; say what is skipped.

    Use it after the cause is gone, e.g. the meter is registered now. A row that was admitted
    meanwhile counts as a duplicate, never twice. Letters of agents after ingest cannot be sent
    again as they are: their rows exist in the topics, so correct the cause and replay from there.

    Example: `gridloom dlq replay --reason unknown_meter`
    """
    from streams.cli.connection import connected_settings, run
    from streams.dlq import plan_replay, replay

    _check_reason(reason)
    known = connected_settings()
    plan = run(plan_replay(known, reason))
    if plan.skipped:
        by = Counter(f"{x.fields['agent']}/{x.fields['reason']}" for x in plan.skipped)
        listed = ", ".join(f"{name} {n}" for name, n in by.most_common())
        note(f"skipped {len(plan.skipped)} that are no input as received: {listed}")
    if plan.seen_before:
        note(f"{plan.seen_before} of them were there at an earlier replay and may have been sent")
    if not plan.send:
        note("no letter to replay")
    elif not yes and not typer.confirm(f"send {len(plan.send)} messages again?", err=True):
        raise typer.Exit(1)
    sent = run(replay(known, plan.send))
    if as_json:
        skipped, seen = len(plan.skipped), plan.seen_before
        print_json({"sent": sent, "skipped": skipped, "seen_before": seen})
    elif sent:
        note(f"{sent} messages sent; `gridloom dlq list` shows what is refused again")


def as_object(letter: "Letter") -> dict[str, Any]:
    """The JSON form: the letter's columns and where it lies."""
    return {"partition": letter.partition, "offset": letter.offset, **letter.fields}


def _line(letter: "Letter") -> tuple[Any, ...]:
    fields = letter.fields
    message = fields["message"]
    if len(message) > _MESSAGE_CHARS:
        message = message[: _MESSAGE_CHARS - 3] + "..."
    return (
        letter.partition,
        letter.offset,
        fields["reason"],
        fields["field"],
        fields["agent"],
        letter.source,
        message,
    )


def _check_reason(reason: str) -> None:
    from schemas import REASONS
    from schemas.errors import ConfigError

    if reason and reason not in REASONS:
        raise ConfigError(f"no reason {reason!r}", f"choose from {', '.join(REASONS)}")
