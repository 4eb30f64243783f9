"""Settings of the ingress: what cannot be run is refused with all reasons, and no secret is shown."""

from pathlib import Path

import pytest

from bridge.delivery.keeper import SPOOL_WAIT_S
from bridge.settings import BridgeSettings
from openbsp.kafka.connection import KafkaSettings
from openbsp.settings import ConfigurationError, describe, load

TOKEN = "name=a-long-enough-token"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRIDGE_TOKENS", "BRIDGE_TOKENS_FILE", "BRIDGE_METRICS_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_token_there_is_nothing_to_run():
    with pytest.raises(ConfigurationError, match="set BRIDGE_TOKENS, BRIDGE_TOKENS_FILE or both"):
        load(BridgeSettings)


def test_all_faults_are_told_at_once_and_none_shows_a_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BRIDGE_PORT", "70000")
    monkeypatch.setenv("BRIDGE_DEADLINE_S", "60")
    monkeypatch.setenv("BRIDGE_METRICS_TOKEN", "short-secret")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "carrier pigeon")
    with pytest.raises(ConfigurationError) as raised:
        load(BridgeSettings, KafkaSettings)
    names = {fault.partition(":")[0] for fault in raised.value.faults}
    assert names == {"BRIDGE_PORT", "BRIDGE_DEADLINE_S", "BRIDGE_METRICS_TOKEN", "KAFKA_SECURITY_PROTOCOL"}
    assert "short-secret" not in str(raised.value)


def test_an_unusable_token_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BRIDGE_TOKENS", "name=short-secret")
    with pytest.raises(ConfigurationError, match="BRIDGE_TOKENS: token name needs 16") as raised:
        load(BridgeSettings)
    assert "short-secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "No such file"), (b"x y", "line 1"), (b"\xff", "UTF-8"), (b"#", "no token")]
)
def test_an_unusable_tokens_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, fault: str
):
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("BRIDGE_TOKENS_FILE", str(file))
    with pytest.raises(ConfigurationError, match=fault):
        load(BridgeSettings)


def test_settings_cannot_be_changed_and_do_not_show_their_secrets():
    settings = BridgeSettings(tokens=TOKEN, metrics_token="a-long-enough-secret")
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    assert "a-long-enough" not in repr(settings)


def test_every_setting_is_described():
    for setting in describe(BridgeSettings):
        assert setting.description.endswith("."), setting.variable


def test_the_deadline_and_the_disk_together_stay_under_the_senders_patience():
    longest = next(item.le for item in BridgeSettings.model_fields["deadline_s"].metadata if hasattr(item, "le"))
    assert longest + SPOOL_WAIT_S < 5
