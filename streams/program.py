"""The program for Faust's own command line: `faust -A streams.program agents`, `tables`, `worker`.

`worker` is the same as `streams worker`: settings come from the environment, the views and all checks are there.
"""

import logging
import sys

from avro.errors import ContractError
from openbsp.commands import ExitCode, ignore_hangups
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.log import event, start_logging
from openbsp.settings import ConfigurationError, load
from openbsp.tracing import start as start_tracing
from streams.app import create_app
from streams.errors import StreamsError
from streams.serve import serve
from streams.settings import StreamsSettings

logger = logging.getLogger(__name__)

try:
    settings, kafka, registry, topics = load(StreamsSettings, KafkaSettings, RegistrySettings, TopicSettings)
except ConfigurationError as error:
    sys.exit(str(error))

app = create_app(settings, kafka, registry, topics, tracing=start_tracing("openbsp-streams"))


async def main() -> int:
    """Run a worker and its views."""
    ignore_hangups()
    start_logging(settings.log_level.value)
    try:
        return await serve(app, settings, kafka, topics)
    except (ContractError, StreamsError) as error:
        logger.critical("not started: %s", error, extra=event("process.not_started"))
        sys.stderr.write(f"streams: {error}\n")
        return ExitCode.NOT_STARTED


app.runner = main
