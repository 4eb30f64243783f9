"""The settings of tokens; each service adds its own prefix to their names."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from openbsp.errors import TokensError
from openbsp.http.tokens.token_set import TokenSet, gather


class TokenSettings(BaseSettings):
    """The accepted tokens."""

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
