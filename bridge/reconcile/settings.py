"""The settings of a reconcile."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from avro.columns import ENTITIES


class ReconcileSettings(BaseSettings):
    """`bridge reconcile`: how it compares and repairs."""

    model_config = SettingsConfigDict(env_prefix="RECONCILE_", frozen=True, hide_input_in_errors=True)

    bridge_url: str = Field(
        "http://127.0.0.1:8080",
        pattern=r"^https?://[^\s@]+$",
        description="Base address of the bridge to which repairs are posted.",
    )
    bridge_token: SecretStr | None = Field(
        None, description="Token that the bridge accepts, for repairs; `--dry-run` needs none."
    )
    dir: Path = Field(
        Path("data/reconcile"),
        description="Directory for the index of the states, about 300 bytes a row, and for how far the last run came. "
        "It can be deleted: the next run reads the state topics and all rows again.",
    )
    entities: str = Field(
        ",".join(ENTITIES),
        description="Tables that are compared, with commas between them. Leave out what OpenBSP's API does not have.",
    )
    signing_key_file: Path | None = Field(
        None,
        description="Private key that signs reports for the topic of audits; `bridge audit key` makes one. Unset: "
        "reports are printed and not kept.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address on which `--every` serves its metrics.")
    metrics_port: int = Field(8095, ge=0, le=65535, description="Port on which `--every` serves its metrics.")
    overlap_s: float = Field(
        3600.0,
        ge=0,
        description="Seconds before the end of the last run from which rows are read again: `updated_at` is the start "
        "of a transaction, so a row can appear later than it says. Rows younger than this are not looked for deletes.",
    )
    settle_s: float = Field(
        60.0,
        ge=0,
        description="Rows changed within so many seconds are left to the next run: their webhooks are on their way.",
    )
    wait_s: float = Field(
        60.0, ge=0, description="Seconds to wait until the states have what was repaired; then the report says so."
    )
    requests_per_s: float = Field(10.0, gt=0, description="Most requests to OpenBSP's API in a second.")
    patience_s: float = Field(
        300.0,
        ge=0,
        description="Seconds for which a request to OpenBSP or to the bridge is tried again, after time-outs, 429 and "
        "5xx.",
    )
    page_rows: int = Field(500, ge=1, le=10_000, description="Rows of one answer; fewer where rows are large.")
    delete_ids: int = Field(
        50_000,
        ge=0,
        description="Ids for which a run asks whether they are still there; the next run goes on behind them. 0: none.",
    )
    delete_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Largest share of those ids, of one organization, that may be gone; more are deleted only with "
        "`--allow-deletes`.",
    )
    delete_minimum: int = Field(
        10, ge=0, description="So many ids of an organization may be gone in any case, however few were asked for."
    )

    @field_validator("entities")
    @classmethod
    def _are_known(cls, entities: str) -> str:
        named = {name.strip() for name in entities.split(",")}
        if not named <= ENTITIES.keys():
            raise ValueError(f"not one of {', '.join(ENTITIES)}: {', '.join(sorted(named - ENTITIES.keys()))}")
        return entities

    @property
    def compared(self) -> tuple[str, ...]:
        """The tables that are compared, in the order in which their rows are deleted."""
        named = {name.strip() for name in self.entities.split(",")}
        return tuple(name for name in ENTITIES if name in named)
