"""The command `streams`."""

import asyncio
import logging
import sys

import typer
from rich.console import Console
from rich.table import Table

from avro.errors import ContractError
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.log import event, start_logging
from openbsp.settings import ConfigurationError, describe, load
from streams.errors import StreamsError
from streams.settings import StreamsSettings

logger = logging.getLogger(__name__)

SETTINGS = (StreamsSettings, KafkaSettings, RegistrySettings, TopicSettings)

app = typer.Typer(help="Joins OpenBSP's events to per-conversation state.", no_args_is_help=True, add_completion=False)


@app.command()
def worker() -> None:
    """Run a worker against the servers that the environment names (see `streams settings`)."""
    settings, kafka, registry, topics = load(*SETTINGS)
    start_logging(settings.log_level.value)
    import uvloop  # noqa: PLC0415 as above

    from streams.serve import serve  # noqa: PLC0415 Faust takes a second to import, which --help need not wait for

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            code = runner.run(serve(settings, kafka, registry, topics))
        except (ContractError, StreamsError):
            raise
        except Exception as error:
            logger.critical("worker failed", exc_info=error, extra=event("process.failed"))
            code = 1
    raise typer.Exit(code)


@app.command()
def settings() -> None:
    """Print the settings that the environment can give."""
    table = Table("variable", "type", "default", "meaning")
    for setting in describe(*SETTINGS):
        table.add_row(setting.variable, setting.type, setting.default, setting.description)
    Console().print(table)


def main() -> None:
    """Run the command; faults of the settings and the servers are told without a stack trace."""
    try:
        app()
    except ConfigurationError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False)
        sys.exit(2)
    except (ContractError, StreamsError) as error:
        text = f"streams: {error}"
        Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
