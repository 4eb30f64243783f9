"""What the operator of the ingress decides."""

from enum import Enum
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from openbsp.errors import TokensError
from openbsp.http.tokens import TokenSet, gather

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE


class LogLevel(Enum):
    """From how grave a line is written; request lines are INFO."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class BridgeSettings(BaseSettings):
    """The HTTP ingress."""

    model_config = SettingsConfigDict(env_prefix="BRIDGE_", frozen=True, hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="Processes that answer, each with a spool of its own.")
    tokens: SecretStr | None = Field(
        None,
        description="Tokens that may send: `name=token`, separated by commas; `name=token@org1|org2` binds a token to "
        "organizations.",
    )
    tokens_file: Path | None = Field(
        None,
        description="File with more tokens, hashed: lines `name sha256 [organization ...]`. Read again when it changes "
        "and on SIGHUP.",
    )
    metrics_token: SecretStr | None = Field(
        None, min_length=16, description="A token that may read /metrics and the details of /readyz, but not send."
    )
    source: str = Field("openbsp", min_length=1, description="`ce_source` of the records: which OpenBSP they are from.")
    deadline_s: float = Field(
        2.0, gt=0, le=4, description="Seconds from a request's arrival that it waits for Kafka before it is spooled."
    )
    max_body_bytes: int = Field(MEBIBYTE, ge=1024, le=3 * MEBIBYTE, description="Largest body that is taken.")
    max_json_depth: int = Field(100, ge=8, le=400, description="Deepest nesting of a body that is taken.")
    max_concurrent_requests: int = Field(
        1000, ge=1, description="Requests that are worked on at once in one process; more are answered 503 at once."
    )
    header_timeout_s: float = Field(
        5.0, gt=0, description="Seconds that a client may take to send a request's headers."
    )
    body_timeout_s: float = Field(5.0, gt=0, description="Seconds that a client may take to send a request's body.")
    keep_alive_s: int = Field(75, ge=1, description="Seconds that an idle connection is kept.")
    spool_dir: Path = Field(
        Path("data/spool"), description="Directory for what Kafka cannot take yet; each bridge needs its own."
    )
    spool_max_bytes: int = Field(
        GIBIBYTE, ge=MEBIBYTE, description="Largest size of a worker's spool; a full one makes answers 503."
    )
    spool_max_age_s: float | None = Field(
        None, gt=0, description="Spooled events older than this many seconds become dead letters; unset: none do."
    )
    refusal_grace_s: float = Field(
        300.0, ge=0, description="Seconds that a lack of authorisation in Kafka may last before it makes dead letters."
    )
    shutdown_s: float = Field(20.0, gt=0, description="Seconds in which a terminated process ends by itself.")
    log_level: LogLevel = Field(LogLevel.INFO, description="Which lines are logged; request lines are INFO.")

    @model_validator(mode="after")
    def _usable_tokens(self) -> Self:
        try:
            self.token_set()
        except TokensError as error:
            raise ValueError("; ".join(error.faults)) from None
        return self

    def token_set(self) -> TokenSet:
        """Return the tokens of the environment and, read anew, of the file. Raises TokensError."""
        return gather("BRIDGE", self.tokens, self.tokens_file)
