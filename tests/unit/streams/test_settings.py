"""What a worker is told by its environment."""

import pytest
from pydantic import ValidationError

from openbsp.kafka.connection import KafkaSettings, TopicSettings
from streams.settings import StreamsSettings, engine_settings

TOKENS = "dashboard=a-token-that-is-long-enough"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_leads_nowhere_from_another_machine_is_not_advertised(host: str):
    """Else two workers in containers advertise one address, and each asks itself for the other's partitions."""
    with pytest.raises(ValidationError, match="set STREAMS_ADVERTISED_URL to one that is"):
        StreamsSettings(host=host, tokens=TOKENS)
    with pytest.raises(ValidationError, match="set STREAMS_ADVERTISED_URL to one that is"):
        StreamsSettings(advertised_url="http://0.0.0.0:8090", tokens=TOKENS)
    assert (
        StreamsSettings(host=host, advertised_url="http://streams-1:8090", tokens=TOKENS).url == "http://streams-1:8090"
    )


def test_standby_copies_are_kept_on_disk_only():
    """In memory they would be lost with each restart, and take the memory of the owner once more."""
    assert StreamsSettings(tokens=TOKENS).standbys == 0
    assert StreamsSettings(tokens=TOKENS, standbys=1).standbys == 1
    with pytest.raises(ValidationError, match="STREAMS_STANDBYS=1 needs STREAMS_STORE=rocksdb"):
        StreamsSettings(tokens=TOKENS, standbys=1, store="memory")


def test_the_engine_tells_operators_of_settings_and_commands_that_they_know():
    """It knows no environment, and no command."""
    told = engine_settings(StreamsSettings(tokens=TOKENS), KafkaSettings(), TopicSettings())
    assert {told.url_setting, told.data_dir_setting} <= {
        f"STREAMS_{name.upper()}" for name in StreamsSettings.model_fields
    }
    assert "`streams repartition`" in told.more_partitions
