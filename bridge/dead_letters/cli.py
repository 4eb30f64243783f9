"""`bridge dead-letters`: options and messages."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from openbsp.commands import ExitCode

if TYPE_CHECKING:
    from bridge.dead_letters.letters import Wanted

app = typer.Typer(no_args_is_help=True)

Since = Annotated[
    str | None,
    typer.Option(metavar="MOMENT", help="Refused since: 15m, 2h or 7d ago, or an instant such as 2026-11-25T10:00Z."),
]
Until = Annotated[str | None, typer.Option(metavar="MOMENT", help="Refused before this moment, in the same forms.")]
ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", metavar="CODE", help="Of this reason; may be repeated.")
]
EntityOption = Annotated[
    list[str] | None, typer.Option("--entity", metavar="NAME", help="Of this entity; may be repeated.")
]
OrganizationOption = Annotated[
    list[str] | None, typer.Option("--organization", metavar="ID", help="Of this organization; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")]


@app.command("list")
def list_letters(
    *,
    since: Since = None,
    until: Until = None,
    reason: ReasonOption = None,
    entity: EntityOption = None,
    organization: OrganizationOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show in a table, the newest.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List dead letters: where each is, when, why, and of what. With --json whole and all of them."""
    from bridge.cluster import configured
    from bridge.dead_letters import commands

    wanted = _wanted(since, until, reason, entity, organization)
    with configured() as cluster:
        commands.list_letters(cluster, wanted, limit, as_json=as_json)


@app.command()
def show(
    position: Annotated[str, typer.Argument(metavar="POSITION", help="topic:partition:offset, as `list` prints it.")],
    *,
    whole: Annotated[bool, typer.Option("--whole", help="All of the payload, however large.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter whole, what its reason means, what to do, and whether it can be redriven.

    Exit code 1 if there is none at the position.
    """
    from bridge.cluster import configured
    from bridge.dead_letters import commands

    with configured() as cluster, _positions():
        if not commands.show_letter(cluster, position, as_json=as_json, all_bytes=whole):
            sys.exit(ExitCode.NOT_STARTED)


@app.command()
def redrive(
    position: Annotated[
        str | None, typer.Argument(metavar="POSITION", help="One dead letter, instead of all that the options name.")
    ] = None,
    *,
    since: Since = None,
    until: Until = None,
    reason: ReasonOption = None,
    entity: EntityOption = None,
    organization: OrganizationOption = None,
    execute: Annotated[
        bool, typer.Option("--execute/--dry-run", help="Do it, or only show the plan.", show_default="--dry-run")
    ] = False,
    url: Annotated[str, typer.Option(help="Base address of the bridge.")] = "http://127.0.0.1:8080",
    token: Annotated[
        str | None, typer.Option(envvar="BRIDGE_TOKEN", help="Token that the bridge accepts; for --execute.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give the events in dead letters to the bridge again; without --execute say what would be sent, and what not.

    Each goes the way of any webhook and has the same event id however often it is redriven. Standard error has a line
    of the log for each. Exit code 1 if one was refused again, not all could be sent, or the one at POSITION was not.
    """
    from bridge.client import BridgeClient
    from bridge.cluster import configured
    from bridge.dead_letters import commands

    wanted = _wanted(since, until, reason, entity, organization)
    if execute and token is None:
        raise typer.BadParameter("--execute needs --token or BRIDGE_TOKEN")
    with configured() as cluster, _positions():
        if token is None or not execute:
            commands.plan(cluster, wanted, position, as_json=as_json)
            return
        with BridgeClient(url, token) as client:
            if not commands.execute(cluster, wanted, position, client):
                sys.exit(ExitCode.NOT_STARTED)


@contextlib.contextmanager
def _positions() -> Iterator[None]:
    """Report an invalid position as a usage error."""
    from bridge.dead_letters.letters import PositionError

    try:
        yield
    except PositionError as error:
        raise typer.BadParameter(str(error)) from None


def _wanted(
    since: str | None,
    until: str | None,
    reasons: list[str] | None,
    entities: list[str] | None,
    organizations: list[str] | None,
) -> "Wanted":
    from avro import instants
    from bridge.dead_letters.letters import Wanted
    from bridge.dead_letters.reasons import EXPLANATIONS
    from openbsp.moments import moment

    codes = {code for _, code in EXPLANATIONS}
    # A mistyped one would be answered "no dead letters".
    for reason in sorted(set(reasons or ()) - codes - {f"{origin}: {code}" for origin, code in EXPLANATIONS}):
        raise typer.BadParameter(f"there is no reason {reason!r}: the reasons are {', '.join(sorted(codes))}")
    now = instants.now()
    try:
        return Wanted(
            frozenset(reasons or ()),
            frozenset(entities or ()),
            frozenset(organizations or ()),
            None if since is None else moment(since, now),
            None if until is None else moment(until, now),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
