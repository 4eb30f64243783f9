"""Settings of every service with HTTP; each adds its own prefix to their names."""

from enum import Enum
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from openbsp.errors import TokensError
from openbsp.http.connections import Limits
from openbsp.http.tokens import TokenSet, gather


class LogLevel(Enum):
    """The lowest level of lines that are logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class ServiceSettings(BaseSettings):
    """Addresses to listen on, tokens, and limits."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    tokens: SecretStr | None = Field(
        None,
        description="Accepted tokens: `name=token`, separated by commas; `name=token@org1|org2` binds a token to "
        "organizations.",
    )
    tokens_file: Path | None = Field(
        None,
        description="File with more accepted tokens, hashed: lines `name sha256 [organization ...]`. Read again when "
        "it changes and on SIGHUP.",
    )
    metrics_token: SecretStr | None = Field(
        None, min_length=16, description="A token that may read metrics and operational details, nothing else."
    )
    connections: int = Field(
        4_096, ge=1, le=1_000_000, description="Most open connections of one process; more are answered 503 and closed."
    )
    header_timeout_s: float = Field(5.0, gt=0, description="Seconds in which a client has to send a request's headers.")
    body_timeout_s: float = Field(
        5.0, gt=0, description="Seconds in which a client has to send a request's body, after its headers."
    )
    keep_alive_s: int = Field(75, ge=1, le=3600, description="Seconds after which an idle connection is closed.")
    log_level: LogLevel = Field(LogLevel.INFO, description="Lowest level of lines that are logged.")

    @model_validator(mode="after")
    def _usable_tokens(self) -> Self:
        try:
            self.token_set()
        except TokensError as error:
            raise ValueError("; ".join(error.faults)) from None
        return self

    def token_set(self) -> TokenSet:
        """Return the tokens of the environment and of the file, which is reloaded. Raises TokensError."""
        prefix = self.model_config.get("env_prefix", "").rstrip("_")
        return gather(prefix, self.tokens, self.tokens_file)

    def limits(self) -> Limits:
        """Return the limits on connections."""
        return Limits(self.connections, self.header_timeout_s, self.body_timeout_s)
