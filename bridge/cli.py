"""The command line: options and messages. Each command's work is in its own module, imported when it is called."""

import asyncio
import random
import sys
from pathlib import Path
from typing import Annotated

import typer

from avro.errors import ContractError
from bridge import token_cli as tokens
from bridge.dead_letters import cli as dead_letters
from bridge.erase import cli as erase
from bridge.reconcile import cli as reconciling
from bridge.tap import cli as tap
from bridge.top import cli as top
from openbsp.commands import ExitCode, complain, ignore_hangups, new_app, print_settings, run
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.local.errors import LocalStackError
from openbsp.settings import load

_HIGHEST_BASE = 65_535 - 3

app = new_app("bridge", "OpenBSP's webhooks as Kafka topics, with live state per conversation.")
topics_app = typer.Typer(no_args_is_help=True)
schemas_app = typer.Typer(no_args_is_help=True)
app.add_typer(topics_app, name="topics", help="The topics of the catalogue, in the cluster that KAFKA_* names.")
app.add_typer(schemas_app, name="schemas", help="The published schemas, in the registry that SCHEMA_REGISTRY_* names.")
app.add_typer(
    dead_letters.app, name="dead-letters", help="Authentic events that were not usable: list, explain, redrive."
)
app.add_typer(tokens.app, name="token", help="Tokens that the bridge and the streams worker accept: new, list, revoke.")
app.command("tap")(tap.tap)
app.command("top")(top.top)
app.command("erase")(erase.erase)
app.command("reconcile")(reconciling.reconcile)
app.add_typer(
    reconciling.audit_app, name="audit", help="Signed reports of `bridge reconcile`: show, verify, make a key."
)

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", file_okay=False, help="Directory of all data; a later start uses it again."),
]
PortsOption = Annotated[
    int | None,
    typer.Option(
        "--ports",
        metavar="BASE",
        min=1,
        max=_HIGHEST_BASE,
        help="Kafka, registry, bridge and views listen on BASE to BASE+3, instead of any free ports.",
    ),
]


def main() -> None:
    """Run the command line and end the process."""
    run("bridge", app, ContractError, LocalStackError)


@app.command()
def up(
    *,
    data: DataOption = None,
    ports: PortsOption = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="When all is ready, print addresses, token and process ids as one line."),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart/--no-restart", help="Start a part again that ended by itself.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show all that Kafka and the registry log.")] = False,
    until_eof: Annotated[
        bool,
        typer.Option(
            "--until-eof", help="Stop when standard input ends, as a pipe does when the program that holds it is gone."
        ),
    ] = False,
) -> None:
    """Start Kafka, a schema registry, the bridge and the streams worker on this machine, until Ctrl-C."""
    from openbsp.up.command import up as start
    from openbsp.up.stack import Ports

    start(data, Ports.starting_at(ports), as_json=as_json, restart=restart, verbose=verbose, until_eof=until_eof)


@app.command()
def demo(
    *,
    stay: Annotated[bool, typer.Option("--stay", help="Go on running until Ctrl-C.")] = False,
    ports: PortsOption = None,
) -> None:
    """Start everything, post the documented payloads, and show and check what comes of them."""
    from openbsp.demo.command import demo as show
    from openbsp.up.stack import Ports

    sys.exit(show(Ports.starting_at(ports), stay=stay))


@app.command()
def serve(
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; instead of BRIDGE_WORKERS.")] = None,
) -> None:
    """Accept webhooks and publish them, with the servers and options that the environment names."""
    from bridge.serve import run as serve_bridge
    from bridge.settings import BridgeSettings

    ignore_hangups()
    settings, kafka, registry, topics = load(BridgeSettings, KafkaSettings, RegistrySettings, TopicSettings)
    if workers is not None:
        settings = settings.model_copy(update={"workers": workers})
    sys.exit(serve_bridge(settings, kafka, registry, topics))


@topics_app.command("check")
def topics_check() -> None:
    """Say how the cluster's topics differ from the catalogue, and how much that matters.

    wrong: results would be wrong, the bridge spools and a worker may not start. risk: something can be lost or
    refused. choice: another setting than the project's, which harms nothing. Exit code 1 if anything is wrong.
    """
    from openbsp.kafka.findings import Grade
    from openbsp.kafka.topics import Topics

    kafka, topics = load(KafkaSettings, TopicSettings)
    inspection = Topics(kafka, topics).inspect()
    for finding in sorted(inspection.findings, key=lambda finding: list(Grade).index(finding.grade)):
        typer.echo(str(finding))
    if inspection.of(Grade.WRONG):
        sys.exit(ExitCode.NOT_STARTED)
    if not inspection.findings:
        typer.echo("all topics are as the catalogue says")


@topics_app.command("apply")
def topics_apply() -> None:
    """Create the topics that are missing. Of one that is there, only the clock is changed: it uses the broker's."""
    from openbsp.kafka.topics import Topics

    kafka, topics = load(KafkaSettings, TopicSettings)
    client = Topics(kafka, topics)
    created = client.apply()
    typer.echo("\n".join(f"created {name}" for name in created) or "all topics were there")
    for name in client.migrate():
        typer.echo(f"{name} uses the broker's clock now")


@schemas_app.command("check")
def schemas_check() -> None:
    """Check the schemas with each other, with their examples and with the registry, and that they are registered.

    Changes nothing; exit code 1 with a line for each fault.
    """
    from avro import compatibility
    from openbsp.kafka.registry import Registry

    registry, topics = load(RegistrySettings, TopicSettings)
    compatibility.check()
    with Registry(registry, topics.prefix) as client:
        client.check()
        for record, schema_id in client.ids().items():
            typer.echo(f"{record} is registered with id {schema_id}")


@schemas_app.command("register")
def schemas_register() -> None:
    """Register all versions of all schemas and set the compatibility of their subjects; safe to repeat."""
    from openbsp.kafka.registry import Registry

    registry, topics = load(RegistrySettings, TopicSettings)
    for done in Registry(registry, topics.prefix).register():
        typer.echo(f"{done.subject}: {done.record} version {done.version} has id {done.schema_id}")


@app.command()
def send(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="One body each.")],
    token: Annotated[str, typer.Option(envvar="BRIDGE_TOKEN", help="Token that the bridge accepts.")],
    url: Annotated[str, typer.Option(help="Base address of the bridge.")] = "http://127.0.0.1:8080",
    repeat: Annotated[int, typer.Option(min=1, metavar="N", help="Send each file N times.")] = 1,
    *,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Send in random order.")] = False,
) -> None:
    """Post files as OpenBSP does: up to 200 at once, 5 s to answer, no second attempt.

    Exit code 1 if one of them is not accepted.
    """
    from openbsp.send import Payload, send

    payloads = [Payload(str(file), file.read_bytes()) for file in files] * repeat
    if shuffle:
        random.shuffle(payloads)

    async def refused() -> int:
        count = 0
        async for answer in send(payloads, url.rstrip("/"), token):
            typer.echo(f"{answer.payload}: {answer.status or '-'} in {answer.seconds * 1000:.0f} ms: {answer.text}")
            count += not answer.accepted
        return count

    if asyncio.run(refused()):
        sys.exit(ExitCode.NOT_STARTED)


@app.command()
def connect(
    organization: Annotated[str, typer.Option(metavar="ID", help="Organization whose webhooks are registered.")],
    url: Annotated[str, typer.Option(help="Address of the bridge as OpenBSP reaches it, https://... ")],
    token: Annotated[str, typer.Option(envvar="BRIDGE_TOKEN", help="Token that the bridge accepts.")],
    *,
    openbsp: Annotated[
        str | None, typer.Option(metavar="URL", help="Base address of OpenBSP's API, instead of OPENBSP_URL.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: say what is wrong, and send each table's newest row.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the webhooks that lead to this bridge.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be changed.")] = False,
) -> None:
    """Register the bridge's webhooks with an OpenBSP (OPENBSP_ settings), or repair them; safe to repeat.

    Exit code 1 if something hinders events from coming.
    """
    from bridge.sender import connect as sender
    from bridge.sender.errors import PlatformError
    from bridge.sender.platform import Platform, is_word
    from bridge.sender.settings import OpenBspSettings
    from openbsp.terminal import printable

    if not sender.is_address(url):
        raise typer.BadParameter(
            "--url begins with https:// or http:// and has a host, but neither a user name nor a query"
        )
    token = token.strip()
    if not is_word(token):
        raise typer.BadParameter(
            "the token is empty, or has white space or a letter beyond ASCII in it; it is given without `Bearer`"
        )
    if check and (remove or dry_run):
        raise typer.BadParameter("--check changes nothing and removes nothing: give it alone")
    if openbsp is not None and not openbsp.startswith(("http://", "https://")):
        raise typer.BadParameter("--openbsp is an address that begins with https:// or http://")
    (platform_settings,) = load(OpenBspSettings)
    if openbsp is not None:
        platform_settings = platform_settings.model_copy(update={"url": openbsp})
    connection = sender.Connection(organization, sender.address(url), token)

    def say(line: str) -> None:
        typer.echo(printable(line))

    try:
        with Platform(platform_settings) as platform:
            if remove:
                sender.disconnect(platform, connection, say, dry_run=dry_run)
                return
            well = (
                sender.check(platform, connection, say)
                if check
                else sender.connect(platform, connection, say, dry_run=dry_run)
            )
    except PlatformError as error:
        complain("bridge", printable(str(error)))
        sys.exit(ExitCode.NOT_STARTED)
    if not well:
        sys.exit(ExitCode.NOT_STARTED)


@app.command()
def settings() -> None:
    """List the settings: variables of the environment, their defaults and what they mean."""
    from bridge.reconcile.settings import ReconcileSettings
    from bridge.sender.settings import OpenBspSettings
    from bridge.settings import BridgeSettings

    print_settings(BridgeSettings, OpenBspSettings, ReconcileSettings, KafkaSettings, RegistrySettings, TopicSettings)
