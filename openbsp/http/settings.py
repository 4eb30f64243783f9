"""Settings of every service with HTTP; each adds its own prefix to their names."""

from enum import Enum

from pydantic import Field

from openbsp.http.connections import Limits
from openbsp.http.tokens.settings import TokenSettings


class LogLevel(Enum):
    """The lowest level of lines that are logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class ServiceSettings(TokenSettings):
    """Tokens, addresses to listen on, and limits."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    connections: int = Field(
        4_096, ge=1, le=1_000_000, description="Most open connections of one process; more are answered 503 and closed."
    )
    header_timeout_s: float = Field(5.0, gt=0, description="Seconds in which a client has to send a request's headers.")
    body_timeout_s: float = Field(
        5.0, gt=0, description="Seconds in which a client has to send a request's body, after its headers."
    )
    keep_alive_s: int = Field(75, ge=1, le=3600, description="Seconds after which an idle connection is closed.")
    log_level: LogLevel = Field(LogLevel.INFO, description="Lowest level of lines that are logged.")

    def limits(self) -> Limits:
        """Return the limits on connections."""
        return Limits(self.connections, self.header_timeout_s, self.body_timeout_s)
