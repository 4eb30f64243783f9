"""The words' program for `faust -A support.words_program worker`; the environment says where."""

import logging
import os
from pathlib import Path

from openbsp.kafka.connection import KafkaSettings
from streams.engine.settings import EngineSettings
from support.words import create_app

logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")

directory = os.environ.get("WORDS_DATA_DIR")

app = create_app(
    EngineSettings(
        app_id=os.environ["WORDS_APP_ID"],
        kafka=KafkaSettings(bootstrap_servers=os.environ["WORDS_KAFKA"]),
        url=os.environ["WORDS_URL"],
        partitions=4,
        topic_prefix=os.environ["WORDS_PREFIX"],
        data_dir=None if directory is None else Path(directory),
        session_timeout_s=6.0,
        batch_records=50,
    )
)
