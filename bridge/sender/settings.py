"""How to reach OpenBSP's REST API."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class OpenBspSettings(BaseSettings):
    """OpenBSP's REST API (PostgREST), for `bridge connect` and `bridge reconcile`."""

    model_config = SettingsConfigDict(env_prefix="OPENBSP_", frozen=True, hide_input_in_errors=True)

    url: str | None = Field(
        None,
        pattern=r"^https?://[^\s@]+$",
        description="Base address of OpenBSP's API, before `/rest/v1`, for example https://project.supabase.co.",
    )
    anon_key: SecretStr | None = Field(
        None, description="The project's public key, sent as `apikey`; a hosted OpenBSP answers nothing without it."
    )
    api_key: SecretStr | None = Field(
        None,
        description="API key of the organization, sent as `api-key`; `connect` needs the right to edit webhooks, "
        "`reconcile` to read all rows.",
    )
    timeout_s: float = Field(10.0, gt=0, description="Seconds to wait for an answer of OpenBSP's API.")
