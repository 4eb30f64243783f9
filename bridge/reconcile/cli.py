"""`bridge reconcile` and `bridge audit`: options and messages."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from openbsp.commands import ExitCode, complain
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.settings import load

audit_app = typer.Typer(no_args_is_help=True)

KeysOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="PUBLIC",
        help="Public key that may have signed, as `bridge audit key` printed it; may be repeated. Otherwise that of "
        "RECONCILE_SIGNING_KEY_FILE.",
    ),
]


def reconcile(
    organization: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this organization; may be repeated. Otherwise all that the key sees."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Rows changed since: 90s, 15m, 2h, 7d ago, or 2026-11-25T10:00Z; otherwise, since the last run.",
        ),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: print what differs.")] = False,
    deletes: Annotated[
        bool, typer.Option("--deletes/--no-deletes", help="Look for rows that are gone from OpenBSP as well.")
    ] = True,
    allow_deletes: Annotated[
        bool, typer.Option("--allow-deletes", help="Delete what is gone, without the limit of RECONCILE_DELETE_SHARE.")
    ] = False,
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans",
            help="Fetch only rows that never arrived although others refer to them: messages of which there are only "
            "receipts, conversations of which there are only messages.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Go on, with a run every 5m or so, and serve metrics (RECONCILE_METRICS_PORT)."
        ),
    ] = None,
) -> None:
    """Compare OpenBSP's rows with the states, and repair what webhooks missed.

    Reads rows over OpenBSP's API (OPENBSP_URL and its keys), posts what is missing or different to the bridge
    (RECONCILE_BRIDGE_URL, RECONCILE_BRIDGE_TOKEN) marked as reconciled, and waits for the states. Rows that are gone
    become deletes. Exit code 1 if anything is not as OpenBSP has it afterwards; with --dry-run, if anything differs.
    """
    from avro import instants
    from bridge.reconcile.command import Environment, Request
    from bridge.reconcile.command import reconcile as start
    from bridge.reconcile.errors import ReconcileError
    from bridge.reconcile.settings import ReconcileSettings
    from bridge.sender.errors import PlatformError
    from bridge.sender.settings import OpenBspSettings
    from openbsp.moments import moment, seconds

    try:
        beginning = None if since is None else max(0, moment(since, instants.now()))
    except ValueError as error:
        raise typer.BadParameter(f"--since: {error}") from None
    if beginning is not None and beginning > instants.now():
        raise typer.BadParameter("--since is in the future: no row has changed since then")
    try:
        interval_s = None if every is None else seconds(every)
    except ValueError as error:
        raise typer.BadParameter(f"--every: {error}") from None
    if interval_s is not None and (since is not None or dry_run or allow_deletes or orphans):
        raise typer.BadParameter("--every goes with neither --since, --dry-run, --allow-deletes nor --orphans")
    if orphans and since is not None:
        raise typer.BadParameter("--orphans are fetched by their ids, whenever they changed: not with --since")
    loaded = load(ReconcileSettings, OpenBspSettings, KafkaSettings, RegistrySettings, TopicSettings)
    request = Request(tuple(organization or ()), beginning, dry_run, deletes, allow_deletes, as_json, orphans)
    try:
        sys.exit(start(request, Environment(*loaded), interval_s))
    except (PlatformError, ReconcileError) as error:
        complain("bridge", str(error))
        sys.exit(ExitCode.NOT_STARTED)


@audit_app.command("key")
def audit_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes; it must not exist.")],
) -> None:
    """Make the key that signs reports, for RECONCILE_SIGNING_KEY_FILE, and print its public key.

    The file is for its owner alone. The public key is for those who verify reports.
    """
    from bridge.reconcile.signing import make_key

    try:
        typer.echo(f"public key  {make_key(file)}")
    except FileExistsError:
        complain("bridge", f"{file} is there already; a key that has signed is needed to verify what it signed")
        sys.exit(ExitCode.NOT_STARTED)


@audit_app.command("show")
def audit_show(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="One run, by the beginning of its id.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, metavar="N", help="So many of the latest runs.")] = 5,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each audit as a line of JSON, with its signature.")
    ] = False,
) -> None:
    """Print the reports of former runs, as the topic of audits has them. Does not verify them."""
    from bridge.reconcile.audit_command import show
    from bridge.reconcile.errors import ReconcileError

    kafka, topics = load(KafkaSettings, TopicSettings)
    try:
        sys.exit(show(kafka, topics, run, last, as_json=as_json))
    except ReconcileError as error:
        complain("bridge", str(error))
        sys.exit(ExitCode.NOT_STARTED)


@audit_app.command("verify")
def audit_verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            exists=True,
            dir_okay=False,
            help="Audits as lines of JSON; otherwise all of the topic.",
        ),
    ] = None,
    keys: KeysOption = None,
) -> None:
    """Check that audits are signed with a key that is known here, and unchanged. Exit code 1 if one is not."""
    from bridge.reconcile.audit_command import verify
    from bridge.reconcile.errors import ReconcileError
    from bridge.reconcile.settings import ReconcileSettings

    settings, kafka, topics = load(ReconcileSettings, KafkaSettings, TopicSettings)
    try:
        sys.exit(verify(kafka, topics, files or [], keys or [], settings.signing_key_file))
    except ReconcileError as error:
        complain("bridge", str(error))
        sys.exit(ExitCode.NOT_STARTED)
