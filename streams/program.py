"""The program for Faust's own command line: `faust -A streams.program agents`, `tables`, `worker`.

`worker` is the same as `streams worker`: settings come from the environment, the views and all checks are there.
"""

from avro.errors import ContractError
from openbsp.commands import ExitCode, complain, end_when_asked, failures_told, ignore_hangups
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.log import start_logging
from openbsp.settings import load
from openbsp.tracing import start as start_tracing
from streams.app import create_app
from streams.engine.errors import StreamsError
from streams.serve import run_worker
from streams.settings import StreamsSettings

with failures_told("streams", ContractError, StreamsError):
    settings, kafka, registry, topics = load(StreamsSettings, KafkaSettings, RegistrySettings, TopicSettings)
    app = create_app(settings, kafka, registry, topics, tracing=start_tracing("openbsp-streams"))


async def main() -> int:
    """Run a worker and its views."""
    ignore_hangups()
    end_when_asked()
    start_logging(settings.log_level.value)
    try:
        return await run_worker(app, settings, kafka, topics)
    except (ContractError, StreamsError) as error:
        complain("streams", str(error))
        return ExitCode.NOT_STARTED


app.runner = main
