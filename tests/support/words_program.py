"""The words' program for `faust -A support.words_program worker`; the environment says where."""

import logging
import os
import signal
from pathlib import Path

from openbsp.kafka.connection import KafkaSettings
from streams.engine.settings import EngineSettings
from streams.engine.source import Record
from support.wait import SESSION_S
from support.words import create_app

logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")

directory = os.environ.get("WORDS_DATA_DIR")

deadly, endless = os.environ.get("WORDS_DEADLY"), "WORDS_ENDLESS" in os.environ


def heard(word: str) -> None:
    """Die of a word, or never come back from it, as of what no program survives."""
    if word == deadly:
        while endless:
            pass
        os.kill(os.getpid(), signal.SIGKILL)


app = create_app(
    EngineSettings(
        app_id=os.environ["WORDS_APP_ID"],
        kafka=KafkaSettings(bootstrap_servers=os.environ["WORDS_KAFKA"]),
        url=os.environ["WORDS_URL"],
        partitions=4,
        topic_prefix=os.environ["WORDS_PREFIX"],
        data_dir=None if directory is None else Path(directory),
        session_timeout_s=SESSION_S,
        batch_records=50,
    ),
    heard=heard,
)


def set_aside(record: Record) -> None:
    """Write where the word is that nobody survives."""
    place = f"{record.topic}[{record.partition}]@{record.offset}"
    app.engine.writer.write(f"{app.engine_settings.topic_prefix}set-aside", record.key, place.encode())


if deadly is not None:
    app.set_aside = set_aside
