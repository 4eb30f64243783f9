"""`bridge erase`: options and messages."""

import sys
from typing import Annotated

import typer

from openbsp.commands import ExitCode, complain
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.settings import load


def erase(
    *,
    message: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Erase this message; may be repeated.")
    ] = None,
    conversation: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Erase this conversation with its messages; may be repeated."),
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Erase all conversations with this address, and messages from and to it."),
    ] = None,
    service: Annotated[str | None, typer.Option(help="Only of this service; with --contact.")] = None,
    organization: Annotated[
        str | None, typer.Option(metavar="ID", help="Only of this organization; with --contact, or for unknown ids.")
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this only the plan is shown.")] = False,
    url: Annotated[str, typer.Option(help="Base address of the bridge.")] = "http://127.0.0.1:8080",
    token: Annotated[str | None, typer.Option(envvar="BRIDGE_TOKEN", help="Token that the bridge accepts.")] = None,
    views: Annotated[str, typer.Option(help="Base address of a streams worker.")] = "http://127.0.0.1:8090",
    views_token: Annotated[
        str | None, typer.Option(envvar="VIEWS_TOKEN", help="Token of the views that may see the rows.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait until the deletions show.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Delete a message, a conversation or a person by delete events, wait until that shows, and report every place.

    It cannot be undone: a deleted id never comes back. Exit code 1 if something still shows.
    """
    from bridge.client import BridgeClient, StoppedError
    from bridge.erase import commands
    from bridge.erase.find import Wanted
    from openbsp.console import make_console
    from openbsp.kafka.registry import Registry

    if not message and not conversation and contact is None:
        raise typer.BadParameter("what should be erased? Give --message, --conversation or --contact")
    if execute and (token is None or views_token is None):
        raise typer.BadParameter("--execute needs --token (BRIDGE_TOKEN) and --views-token (VIEWS_TOKEN)")
    wanted = Wanted(frozenset(message or ()), frozenset(conversation or ()), contact, service, organization)
    kafka, registry, topics = load(KafkaSettings, RegistrySettings, TopicSettings)
    console = make_console(file_width=200)
    seen = commands.Views(views, views_token)
    try:
        with Registry(registry, topics.prefix) as client:
            servers = commands.Servers(kafka, client, topics, seen, url, token)
            if not execute or token is None:
                commands.plan(servers, wanted, console, as_json=as_json)
                return
            with BridgeClient(url, token) as bridge:
                gone = commands.execute(servers, wanted, bridge, console, as_json=as_json, patience_s=timeout)
    except (commands.EraseError, StoppedError) as error:
        complain("bridge", f"{error}. Erasing again goes on with what is left.")
        sys.exit(ExitCode.NOT_STARTED)
    finally:
        seen.close()
    if not gone:
        sys.exit(ExitCode.NOT_STARTED)
