"""The command `streams`."""

import asyncio
import signal
import threading
from typing import Annotated

import typer

from avro.errors import ContractError
from openbsp.commands import end_when_asked, ignore_hangups, leave, new_app, print_settings, run
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.log import start_logging
from openbsp.settings import load
from openbsp.tracing import start as start_tracing
from streams.engine.errors import StreamsError
from streams.settings import StreamsSettings

SETTINGS = (StreamsSettings, KafkaSettings, RegistrySettings, TopicSettings)

app = new_app("streams", "Joins OpenBSP's events to per-conversation state.")


@app.command()
def worker() -> None:
    """Run a worker against the servers that the environment names (see `streams settings`)."""
    ignore_hangups()
    end_when_asked()
    settings, kafka, registry, topics = load(*SETTINGS)
    start_logging(settings.log_level.value)
    import uvloop  # noqa: PLC0415 --help need not wait for it

    from streams.app import create_app  # noqa: PLC0415 Faust takes a second to import, which --help need not wait for
    from streams.serve import run_worker  # noqa: PLC0415 as above

    program = create_app(settings, kafka, registry, topics, tracing=start_tracing("openbsp-streams"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(run_worker(program, settings, kafka, topics))
    leave(code)


@app.command()
def repartition(
    to_prefix: Annotated[str, typer.Option(help="Prefix of the new topics (their TOPIC_PREFIX).")],
    to_app_id: Annotated[str, typer.Option(help="Consumer group of their workers (their STREAMS_APP_ID).")],
    to_partitions: Annotated[int, typer.Option(min=1, help="Partitions of the new topics (their TOPIC_PARTITIONS).")],
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until SIGINT or SIGTERM.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and count only; nothing is written.")] = False,
) -> None:
    """Copy tables, states, events and lists to topics with more partitions, beside everything that runs.

    The environment names the present topics and group. The new topics must have been made (`bridge topics apply`,
    `bridge schemas register`), and their workers may start once "tables and states are copied" is printed. An
    interrupted copy resumes where it was. See docs/operations.md, More partitions.
    """
    settings, kafka, topics = load(StreamsSettings, KafkaSettings, TopicSettings)
    start_logging(settings.log_level.value)
    from streams.repartition import Repartition  # noqa: PLC0415 Kafka's clients take a while to import

    new = topics.model_copy(update={"prefix": to_prefix, "partitions": to_partitions})
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    move = Repartition(kafka, topics, new, settings.app_id, to_app_id)
    try:
        move.check()
        for name, count in move.left().items():
            typer.echo(f"{name}: at most {count} records to copy")
        if dry_run:
            return
        move.seed(lambda name, count: typer.echo(f"{name}: {count} records copied"))
        typer.echo(f"tables and states are copied: workers with STREAMS_APP_ID={to_app_id} may start")
        count = move.copy(move.followed, until=stop if follow else None)
        typer.echo(f"{count} more records copied, up to the end of the present topics")
    finally:
        move.close()


@app.command()
def settings() -> None:
    """List the settings: variables of the environment, their defaults and what they mean."""
    print_settings(*SETTINGS)


def main() -> None:
    """Run the command line and end the process."""
    run("streams", app, ContractError, StreamsError)
