"""How to reach Kafka and the schema registry: settings that every process of the project shares."""

from enum import Enum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from avro.catalogue import COMPRESSION

Config = dict[str, str | int | float | bool]


class SecurityProtocol(Enum):
    """How connections to Kafka are secured; the names are Kafka's."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def encrypted(self) -> bool:
        """Whether TLS is used."""
        return self in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}

    @property
    def authenticated(self) -> bool:
        """Whether SASL is used."""
        return self in {SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL}


class SaslMechanism(Enum):
    """How a client proves who it is; the names are Kafka's."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


class Compression(Enum):
    """How batches of records are compressed; the names are Kafka's."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


#: By far the fastest of gzip's levels, for a tenth more bytes than the default: docs/decisions/0077.
_LEVELS = {Compression.GZIP: 1}


class KafkaSettings(BaseSettings):
    """Connection to the Kafka cluster."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_", frozen=True, hide_input_in_errors=True)

    bootstrap_servers: str = Field("127.0.0.1:9092", description="Brokers to start from, host:port, comma-separated.")
    security_protocol: SecurityProtocol = Field(SecurityProtocol.PLAINTEXT, description="How connections are secured.")
    ssl_ca_file: Path | None = Field(None, description="PEM file of the authorities that sign the brokers' keys.")
    ssl_certificate_file: Path | None = Field(None, description="PEM file of the client's certificate, for mutual TLS.")
    ssl_key_file: Path | None = Field(None, description="PEM file of the client's private key, for mutual TLS.")
    ssl_key_password: SecretStr | None = Field(None, description="Password of the client's private key.")
    sasl_mechanism: SaslMechanism | None = Field(None, description="SASL mechanism of the client.")
    sasl_username: str | None = Field(None, description="User name, for PLAIN and SCRAM.")
    sasl_password: SecretStr | None = Field(None, description="Password, for PLAIN and SCRAM.")
    sasl_oauth_token_url: str | None = Field(None, description="Token endpoint, for OAUTHBEARER.")
    sasl_oauth_client_id: str | None = Field(None, description="Client id, for OAUTHBEARER.")
    sasl_oauth_client_secret: SecretStr | None = Field(None, description="Client secret, for OAUTHBEARER.")
    sasl_oauth_scope: str | None = Field(None, description="Scope to ask for, for OAUTHBEARER.")
    compression: Compression = Field(
        Compression(COMPRESSION),
        description="How records are compressed. Every client reads `none` and `gzip`; some need another package for "
        "the others.",
    )

    @model_validator(mode="after")
    def _one_security_mode(self) -> Self:
        faults = []
        protocol = self.security_protocol
        if not protocol.encrypted and (self.ssl_ca_file or self.ssl_certificate_file or self.ssl_key_file):
            faults.append(f"KAFKA_SSL_* is set, but KAFKA_SECURITY_PROTOCOL={protocol.value} does not encrypt")
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            faults.append("KAFKA_SSL_CERTIFICATE_FILE and KAFKA_SSL_KEY_FILE go together")
        if protocol.authenticated and self.sasl_mechanism is None:
            faults.append(f"KAFKA_SECURITY_PROTOCOL={protocol.value} needs KAFKA_SASL_MECHANISM")
        if not protocol.authenticated and self.sasl_mechanism is not None:
            faults.append(f"KAFKA_SASL_MECHANISM is set, but KAFKA_SECURITY_PROTOCOL={protocol.value} has no SASL")
        if self.sasl_mechanism is SaslMechanism.OAUTHBEARER:
            if not (self.sasl_oauth_token_url and self.sasl_oauth_client_id and self.sasl_oauth_client_secret):
                faults.append("OAUTHBEARER needs KAFKA_SASL_OAUTH_TOKEN_URL, _CLIENT_ID and _CLIENT_SECRET")
        elif self.sasl_mechanism is not None and not (self.sasl_username and self.sasl_password):
            faults.append(f"{self.sasl_mechanism.value} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
        faults.extend(_absent(self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def librdkafka(self) -> Config:
        """Return the connection part of a confluent-kafka configuration."""
        given: dict[str, object] = {
            "bootstrap.servers": self.bootstrap_servers,
            # Trap: on a broker with auto.create.topics.enable=true, asking for a missing topic would create it with the
            # broker's defaults: another partition count, another policy. Only `bridge topics apply` creates.
            "allow.auto.create.topics": "false",
            "security.protocol": self.security_protocol.value,
            "ssl.ca.location": self.ssl_ca_file,
            "ssl.certificate.location": self.ssl_certificate_file,
            "ssl.key.location": self.ssl_key_file,
            "ssl.key.password": self.ssl_key_password,
            "sasl.mechanism": self.sasl_mechanism and self.sasl_mechanism.value,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
        }
        if self.sasl_mechanism is SaslMechanism.OAUTHBEARER:
            given |= {
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": self.sasl_oauth_token_url,
                "sasl.oauthbearer.client.id": self.sasl_oauth_client_id,
                "sasl.oauthbearer.client.secret": self.sasl_oauth_client_secret,
                "sasl.oauthbearer.scope": self.sasl_oauth_scope,
            }
        return {name: _plain(value) for name, value in given.items() if value is not None}

    def producer(self) -> Config:
        """Return what producers need beside their own settings: the connection, and the compression."""
        level = _LEVELS.get(self.compression)
        compression: Config = {"compression.type": self.compression.value}
        return self.librdkafka() | compression | ({} if level is None else {"compression.level": level})


class RegistrySettings(BaseSettings):
    """Connection to a Confluent-compatible schema registry."""

    model_config = SettingsConfigDict(env_prefix="SCHEMA_REGISTRY_", frozen=True, hide_input_in_errors=True)

    url: str = Field(
        "http://127.0.0.1:8081",
        pattern=r"^https?://[^,\s]+(,https?://[^,\s]+)*$",
        description="Address of the registry's Confluent API; several of one cluster are comma-separated.",
    )
    username: str | None = Field(None, description="User name for basic authentication.")
    password: SecretStr | None = Field(None, description="Password for basic authentication.")
    ssl_ca_file: Path | None = Field(None, description="PEM file of the authority that signs the registry's key.")
    ssl_certificate_file: Path | None = Field(None, description="PEM file of the client's certificate, for mutual TLS.")
    ssl_key_file: Path | None = Field(None, description="PEM file of the client's private key, for mutual TLS.")
    timeout_s: float = Field(5.0, gt=0, description="Seconds to wait for an answer of the registry.")

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        faults = []
        urls = self.url.split(",")
        if any("@" in urlsplit(url).netloc for url in urls):
            faults.append("credentials belong in SCHEMA_REGISTRY_USERNAME and _PASSWORD, addresses end up in logs")
        if not all(url.startswith("https:") for url in urls) and (self.ssl_ca_file or self.ssl_certificate_file):
            faults.append("SCHEMA_REGISTRY_SSL_* is set, but SCHEMA_REGISTRY_URL=http://... does not encrypt")
        if (self.username is None) != (self.password is None):
            faults.append("SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD go together")
        if self.username is not None and ":" in self.username:
            faults.append("SCHEMA_REGISTRY_USERNAME has a colon, which basic authentication cannot carry")
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            faults.append("SCHEMA_REGISTRY_SSL_CERTIFICATE_FILE and SCHEMA_REGISTRY_SSL_KEY_FILE go together")
        faults.extend(_absent(self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def client_config(self) -> dict[str, object]:
        """Return the configuration of confluent-kafka's SchemaRegistryClient."""
        # Trap: without a time-out the client waits forever, and it retries by itself with pauses in between.
        config: dict[str, object] = {"url": self.url, "timeout": self.timeout_s, "max.retries": 0}
        if self.username is not None and self.password is not None:
            config["basic.auth.user.info"] = f"{self.username}:{self.password.get_secret_value()}"
        for name, path in (
            ("ssl.ca.location", self.ssl_ca_file),
            ("ssl.certificate.location", self.ssl_certificate_file),
            ("ssl.key.location", self.ssl_key_file),
        ):
            if path is not None:
                config[name] = str(path)
        return config


class TopicSettings(BaseSettings):
    """Names and configuration of the topics."""

    model_config = SettingsConfigDict(env_prefix="TOPIC_", frozen=True)

    prefix: str = Field("openbsp.", pattern=r"^[a-zA-Z0-9._-]{0,100}$", description="Prefix of all topic names.")
    partitions: int = Field(12, ge=1, le=10_000, description="Partitions of each topic; the join needs them equal.")
    replication_factor: int = Field(3, ge=1, le=100, description="Replicas of each partition.")
    min_insync_replicas: int = Field(
        2, ge=1, le=100, description="In-sync replicas that must have a record before it is acknowledged."
    )
    retention_days: float = Field(
        30.0, ge=0, le=36_500, description="Days for which events and status changes are kept; 0: unlimited."
    )
    dead_letter_retention_days: float = Field(
        90.0, ge=0, le=36_500, description="Days for which dead letters are kept; 0: unlimited."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError("TOPIC_MIN_INSYNC_REPLICAS exceeds TOPIC_REPLICATION_FACTOR: no write could succeed")
        return self


def _absent(*paths: Path | None) -> list[str]:
    return [f"{path} does not exist" for path in paths if path is not None and not path.is_file()]


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value)
