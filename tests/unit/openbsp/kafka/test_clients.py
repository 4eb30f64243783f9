"""Kafka clients: what librdkafka logs is in the process's log, and nowhere else."""

import logging

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from openbsp.kafka.clients import LIBRDKAFKA, admin_config, producer_config, reader_config
from support.wait import eventually

NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}


def test_producers_and_readers_log_to_the_logger(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]):
    limits = {"message_timeout_s": 5.0, "linger_ms": 0, "queue_messages": 10, "queue_kibibytes": 10}
    producer = Producer(producer_config(NOWHERE, **limits), logger=LIBRDKAFKA)
    reader = Consumer(reader_config(NOWHERE, "x"), logger=LIBRDKAFKA)
    with caplog.at_level(logging.INFO, "librdkafka"):
        for client in (producer, reader):
            caplog.clear()
            eventually(lambda client=client: (client.poll(0.05), "Connection refused" in caplog.text)[1])
    reader.close()
    assert "127.0.0.1:1" not in capfd.readouterr().err


def test_an_admin_client_logs_nothing(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(Exception, match="_TRANSPORT"):
        AdminClient(admin_config(NOWHERE)).list_topics(timeout=1.0)
    assert capfd.readouterr().err == ""
