"""The command `streams`."""

import asyncio
import logging

import typer

from avro.errors import ContractError
from openbsp.commands import ExitCode, end_when_asked, ignore_hangups, new_app, print_settings, run
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.log import event, start_logging
from openbsp.settings import load
from streams.errors import StreamsError
from streams.settings import StreamsSettings

logger = logging.getLogger(__name__)

SETTINGS = (StreamsSettings, KafkaSettings, RegistrySettings, TopicSettings)

app = new_app("streams", "Joins OpenBSP's events to per-conversation state.")


@app.command()
def worker() -> None:
    """Run a worker against the servers that the environment names (see `streams settings`)."""
    ignore_hangups()
    end_when_asked()
    settings, kafka, registry, topics = load(*SETTINGS)
    start_logging(settings.log_level.value)
    import uvloop  # noqa: PLC0415 as above

    from streams.app import create_app  # noqa: PLC0415 as below
    from streams.serve import serve  # noqa: PLC0415 Faust takes a second to import, which --help need not wait for

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            code = runner.run(serve(create_app(settings, kafka, registry, topics), settings, kafka, topics))
        except (ContractError, StreamsError) as error:
            logger.critical("not started: %s", error, extra=event("process.not_started"))
            raise
        except Exception as error:
            logger.critical("worker failed", exc_info=error, extra=event("process.failed"))
            code = ExitCode.FAILED
    raise typer.Exit(code)


@app.command()
def settings() -> None:
    """List the settings: variables of the environment, their defaults and what they mean."""
    print_settings(*SETTINGS)


def main() -> None:
    """Run the command line and end the process."""
    run("streams", app, ContractError, StreamsError)
