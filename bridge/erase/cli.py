"""`bridge erase`: options and messages."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbsp.commands import ExitCode, complain
from openbsp.settings import load

if TYPE_CHECKING:
    from bridge.erase.find import Wanted


def _address(contact: str | None) -> str | None:
    """Refuse an invalid address, as of an unset variable: nothing would be found, and all would seem well."""
    if contact is not None and (not contact or contact != contact.strip()):
        raise typer.BadParameter("--contact is empty, or has white space around it")
    return contact


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
        typer.Option(
            metavar="ADDRESS",
            callback=_address,
            help="Erase all conversations with this address, and messages from and to it.",
        ),
    ] = None,
    service: Annotated[str | None, typer.Option(help="Only of this service; with --contact.")] = None,
    organization: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Erase all rows of this organization; with --contact, or for unknown ids, only of this organization.",
        ),
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="ID", help="The same organization again, so that --execute erases all of it.")
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT",
            exists=True,
            dir_okay=False,
            help="Erase nothing: search every place for the rows of this report of --execute --json. With --contact "
            "for the address as well, which the report does not hold.",
        ),
    ] = None,
    lift: Annotated[
        bool, typer.Option("--lift", help="Take --contact off the suppression list: its webhooks are taken again.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Print the suppression list, without addresses.")] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this only the plan is shown.")] = False,
    spool: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Search the spools in this directory; with --execute, remove what waits there. May be repeated.",
        ),
    ] = None,
    spools_only: Annotated[
        bool,
        typer.Option(
            "--spools-only",
            help="With --execute and --spool, while Kafka is away: remove what waits in the spools, and nothing else.",
        ),
    ] = False,
    url: Annotated[str, typer.Option(help="Base address of the bridge.")] = "http://127.0.0.1:8080",
    token: Annotated[str | None, typer.Option(envvar="BRIDGE_TOKEN", help="Token that the bridge accepts.")] = None,
    views: Annotated[str, typer.Option(help="Base address of a streams worker.")] = "http://127.0.0.1:8090",
    views_token: Annotated[
        str | None, typer.Option(envvar="VIEWS_TOKEN", help="Token of the views that may see the rows.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait until the deletions are visible.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Delete messages, a conversation, a person or an organization by delete events, and report every place.

    It cannot be undone: a deleted id never comes back. Exit code 1 if something still shows; with --verify, if
    something is there that no date removes, or whose date has passed.
    """
    from bridge.client import BridgeClient, StoppedError
    from bridge.cluster import configured
    from bridge.erase import commands
    from bridge.erase.errors import EraseError
    from bridge.erase.find import Wanted
    from bridge.erase.report import Former, show
    from bridge.erase.views import Views
    from bridge.suppressions.settings import SuppressionSettings
    from openbsp.console import make_console

    wanted = Wanted(frozenset(message or ()), frozenset(conversation or ()), contact, service, organization)
    if lift and contact is None:
        raise typer.BadParameter("--lift needs --contact, with the --service and --organization of the erasure")
    if show_list or lift:
        _suppressions(contact, service, organization, lift=lift, as_json=as_json)
        return
    narrower = bool(message or conversation or service or organization)
    _check_call(wanted, confirm, verifies=verify is not None, narrower=narrower, execute=execute)
    if spools_only:
        _from_spools(spool or [], wanted, timeout, execute=execute, as_json=as_json)
        return
    if execute and (token is None or views_token is None):
        raise typer.BadParameter("--execute needs --token (BRIDGE_TOKEN) and --views-token (VIEWS_TOKEN)")
    if verify is not None and views_token is None:
        raise typer.BadParameter("--verify needs --views-token (VIEWS_TOKEN)")
    seen = Views(views, views_token)
    try:
        with configured() as cluster:
            (suppressions,) = load(SuppressionSettings)
            servers = commands.Servers(cluster, seen, url, token, tuple(spool or ()), suppressions.key)
            if verify is not None:
                report = commands.verify(servers, Former.read(verify, contact))
            elif not execute or token is None:
                report = commands.plan(servers, wanted)
            else:
                with BridgeClient(url, token) as bridge:
                    report = commands.execute(servers, wanted, bridge, patience_s=timeout)
    except (EraseError, StoppedError) as error:
        complain("bridge", f"{error}." + (" Erasing again goes on with what is left." if execute else ""))
        sys.exit(ExitCode.NOT_STARTED)
    finally:
        seen.close()
    show(report, make_console(file_width=200), as_json=as_json)
    if not report.well:
        sys.exit(ExitCode.NOT_STARTED)


def _from_spools(directories: list[Path], wanted: "Wanted", timeout: float, *, execute: bool, as_json: bool) -> None:
    from bridge.erase import commands
    from bridge.erase.errors import EraseError
    from bridge.erase.report import show
    from openbsp.console import make_console

    if not (execute and directories):
        raise typer.BadParameter("--spools-only needs --execute and --spool")
    try:
        report = commands.from_spools(directories, wanted, patience_s=timeout)
    except EraseError as error:
        complain("bridge", f"{error}.")
        sys.exit(ExitCode.NOT_STARTED)
    show(report, make_console(file_width=200), as_json=as_json)
    complain("bridge", "only spools were changed: erase again, without --spools-only, once Kafka is there")
    if not report.well:
        sys.exit(ExitCode.NOT_STARTED)


def _suppressions(
    contact: str | None, service: str | None, organization: str | None, *, lift: bool, as_json: bool
) -> None:
    from bridge.cluster import configured
    from bridge.suppressions import commands
    from bridge.suppressions.hashes import Contact
    from bridge.suppressions.settings import SuppressionSettings
    from openbsp.console import make_console

    with configured() as cluster:
        if not lift or contact is None:
            commands.show(cluster, make_console(file_width=200), as_json=as_json)
            return
        (settings,) = load(SuppressionSettings)
        why = commands.lift(cluster, settings.key, Contact(contact, service, organization))
    if why is not None:
        complain("bridge", why)
        sys.exit(ExitCode.NOT_STARTED)
    typer.echo("lifted: what OpenBSP sends of this contact is taken again; `bridge reconcile` brings what it has")


def _check_call(wanted: "Wanted", confirm: str | None, *, verifies: bool, narrower: bool, execute: bool) -> None:
    if verifies:
        if execute or narrower:
            raise typer.BadParameter("--verify takes what was erased from the report; only --contact is given again")
        return
    if not (narrower or wanted.contact is not None):
        raise typer.BadParameter(
            "what should be erased? Give --message, --conversation, --contact or --organization, or --verify"
        )
    if execute and wanted.organization != confirm:
        raise typer.BadParameter("all of an organization is erased only with --confirm and the same id")
