"""Connection settings: one security mode at a time, secrets never shown, names as the clients want them."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from openbsp.errors import KafkaSettingsError
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.topics import Topics
from openbsp.settings import ConfigurationError, describe, load


@pytest.fixture(autouse=True)
def no_variables_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")):
            monkeypatch.delenv(name)


def test_without_any_variable_the_local_servers_are_meant() -> None:
    kafka, registry, topics = load(KafkaSettings, RegistrySettings, TopicSettings)
    assert kafka.librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "allow.auto.create.topics": "false",
        "security.protocol": "PLAINTEXT",
    }
    assert registry.client_config() == {"url": "http://127.0.0.1:8081", "timeout": 5.0, "max.retries": 0}
    assert (topics.prefix, topics.partitions, topics.replication_factor, topics.min_insync_replicas) == (
        "openbsp.",
        12,
        3,
        2,
    )


def test_producers_compress_with_what_every_client_reads_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    (kafka,) = load(KafkaSettings)
    assert kafka.producer() == {**kafka.librdkafka(), "compression.type": "gzip", "compression.level": 1}
    monkeypatch.setenv("KAFKA_COMPRESSION", "zstd")
    (kafka,) = load(KafkaSettings)
    assert kafka.producer() == {**kafka.librdkafka(), "compression.type": "zstd"}
    monkeypatch.setenv("KAFKA_COMPRESSION", "brotli")
    with pytest.raises(ConfigurationError, match="KAFKA_COMPRESSION"):
        load(KafkaSettings)


def test_scram_over_tls_with_a_client_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("CA", "CERTIFICATE", "KEY")}
    for name, path in files.items():
        path.touch()
        monkeypatch.setenv(f"KAFKA_SSL_{name}_FILE", str(path))
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "bridge")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    (kafka,) = load(KafkaSettings)
    assert kafka.librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "allow.auto.create.topics": "false",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(files["CA"]),
        "ssl.certificate.location": str(files["CERTIFICATE"]),
        "ssl.key.location": str(files["KEY"]),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "bridge",
        "sasl.password": "hunter2",
    }
    assert "hunter2" not in repr(kafka)


def test_oauthbearer_is_oidc_of_librdkafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "OAUTHBEARER")
    monkeypatch.setenv("KAFKA_SASL_OAUTH_TOKEN_URL", "https://id.example/token")
    monkeypatch.setenv("KAFKA_SASL_OAUTH_CLIENT_ID", "bridge")
    monkeypatch.setenv("KAFKA_SASL_OAUTH_CLIENT_SECRET", "hunter2")
    (kafka,) = load(KafkaSettings)
    config = kafka.librdkafka()
    assert config["sasl.oauthbearer.method"] == "oidc"
    assert config["sasl.oauthbearer.client.secret"] == "hunter2"
    assert "sasl.oauthbearer.scope" not in config


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "needs KAFKA_SASL_MECHANISM"),
        ({"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "u", "SASL_PASSWORD": "p"}, "has no SASL"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN"}, "PLAIN needs KAFKA_SASL_USERNAME"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"}, "OAUTHBEARER needs"),
        ({"SSL_CA_FILE": "/absent.pem"}, "does not encrypt"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "/absent.pem"}, "/absent.pem does not exist"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_KEY_FILE": "/absent.pem"}, "go together"),
        ({"SECURITY_PROTOCOL": "ssl"}, "KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_a_security_mode_that_cannot_work_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], fault: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"KAFKA_{name}", value)
    with pytest.raises(ConfigurationError, match=fault):
        load(KafkaSettings)


def test_files_that_librdkafka_cannot_use_are_told_of_the_settings(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("no certificate")
    kafka = KafkaSettings(security_protocol="SSL", ssl_ca_file=authority)
    with pytest.raises(KafkaSettingsError, match="KAFKA_ settings cannot be used"):
        Topics(kafka, TopicSettings())


def test_registry_credentials_and_certificates_reach_the_client(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "https://registry.example")
    monkeypatch.setenv("SCHEMA_REGISTRY_USERNAME", "bridge")
    monkeypatch.setenv("SCHEMA_REGISTRY_PASSWORD", "a:b")
    for name in ("CA", "CERTIFICATE", "KEY"):
        (tmp_path / name).touch()
        monkeypatch.setenv(f"SCHEMA_REGISTRY_SSL_{name}_FILE", str(tmp_path / name))
    (registry,) = load(RegistrySettings)
    config = registry.client_config()
    assert config["basic.auth.user.info"] == "bridge:a:b"
    assert config["ssl.ca.location"] == str(tmp_path / "CA")
    assert config["ssl.certificate.location"] == str(tmp_path / "CERTIFICATE")
    assert config["ssl.key.location"] == str(tmp_path / "KEY")
    assert "a:b" not in repr(registry)


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"URL": "registry:8081"}, "SCHEMA_REGISTRY_URL"),
        ({"URL": "https://user:hunter2@registry.example"}, "SCHEMA_REGISTRY_USERNAME and _PASSWORD"),
        ({"USERNAME": "bridge"}, "go together"),
        ({"PASSWORD": "hunter2"}, "go together"),
        ({"USERNAME": "a:b", "PASSWORD": "hunter2"}, "colon"),
        ({"URL": "https://r.example", "SSL_KEY_FILE": "/absent.pem"}, "go together"),
        ({"URL": "https://r.example", "SSL_CA_FILE": "/absent.pem"}, "/absent.pem does not exist"),
        ({"SSL_CA_FILE": "/absent.pem"}, "does not encrypt"),
        ({"TIMEOUT_S": "0"}, "SCHEMA_REGISTRY_TIMEOUT_S"),
    ],
)
def test_a_registry_that_cannot_be_reached_so_is_a_fault_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], fault: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SCHEMA_REGISTRY_{name}", value)
    with pytest.raises(ConfigurationError, match=fault) as refused:
        load(RegistrySettings)
    assert "hunter2" not in str(refused.value)


def test_all_faults_of_all_classes_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "TLS")
    monkeypatch.setenv("SCHEMA_REGISTRY_TIMEOUT_S", "soon")
    monkeypatch.setenv("TOPIC_PARTITIONS", "0")
    monkeypatch.setenv("TOPIC_PREFIX", "a b")
    with pytest.raises(ConfigurationError) as refused:
        load(KafkaSettings, RegistrySettings, TopicSettings)
    names = {fault.split(":")[0] for fault in refused.value.faults}
    assert names == {"KAFKA_SECURITY_PROTOCOL", "SCHEMA_REGISTRY_TIMEOUT_S", "TOPIC_PARTITIONS", "TOPIC_PREFIX"}


def test_more_replicas_in_sync_than_replicas_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC_REPLICATION_FACTOR", "1")
    with pytest.raises(ConfigurationError, match="no write could succeed"):
        load(TopicSettings)


def test_settings_cannot_be_changed_afterwards() -> None:
    for settings in load(KafkaSettings, RegistrySettings, TopicSettings):
        with pytest.raises(ValidationError):
            settings.prefix = "x"


def test_the_reference_has_a_sentence_for_each_setting_and_no_secret() -> None:
    lines = list(describe(KafkaSettings, RegistrySettings, TopicSettings))
    assert {"KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_PASSWORD", "TOPIC_PARTITIONS"} <= {
        line.variable for line in lines
    }
    assert all(line.description.endswith(".") for line in lines)
    by_name = {line.variable: line for line in lines}
    assert by_name["KAFKA_SASL_PASSWORD"].type == "secret"
    assert by_name["KAFKA_SASL_PASSWORD"].default == "unset"
    assert by_name["KAFKA_SECURITY_PROTOCOL"].type == "PLAINTEXT or SSL or SASL_PLAINTEXT or SASL_SSL"
    assert by_name["KAFKA_SECURITY_PROTOCOL"].default == "PLAINTEXT"
    assert by_name["TOPIC_PARTITIONS"].default == "12"
    assert by_name["SCHEMA_REGISTRY_SSL_CA_FILE"].type == "path"


def test_a_secret_reaches_only_the_client() -> None:
    kafka = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u", sasl_password=SecretStr("hunter2")
    )
    assert "hunter2" not in f"{kafka!r}{kafka}{kafka.model_dump()}"
    assert kafka.librdkafka()["sasl.password"] == "hunter2"
