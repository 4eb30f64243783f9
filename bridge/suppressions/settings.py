"""The key of the suppression list."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

#: The shortest key: 32 characters have at least 128 bits if they are hexadecimal digits.
_SHORTEST_KEY = 32


class SuppressionSettings(BaseSettings):
    """The suppression list; the same key for every bridge and for `bridge erase`."""

    model_config = SettingsConfigDict(env_prefix="BRIDGE_", frozen=True, hide_input_in_errors=True)

    suppression_key: SecretStr | None = Field(
        None,
        min_length=_SHORTEST_KEY,
        description="Key of the hashes in the suppression list, at least 32 random characters. Webhooks of contacts "
        "that `bridge erase` has put there are turned away. With another key the list is void. Unset: no list.",
    )

    @property
    def key(self) -> bytes | None:
        """The bytes of the key."""
        return None if self.suppression_key is None else self.suppression_key.get_secret_value().encode()
