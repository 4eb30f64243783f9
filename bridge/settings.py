"""The settings of the ingress."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from avro.catalogue import MAX_BODY_BYTES, MAX_MESSAGE_BYTES
from bridge.suppressions.settings import SuppressionSettings
from openbsp.http.settings import ServiceSettings

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE


class BridgeSettings(ServiceSettings, SuppressionSettings):
    """The HTTP ingress."""

    model_config = SettingsConfigDict(env_prefix="BRIDGE_", frozen=True, hide_input_in_errors=True)

    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    connections: int = Field(
        4_096, ge=1, le=1_000_000, description="Open connections of one process; more wait in the socket's backlog."
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that answer, each with a spool of its own.")
    source: str = Field("openbsp", min_length=1, description="`ce_source` of the records: which OpenBSP they are from.")
    deadline_s: float = Field(
        2.0,
        gt=0,
        le=4,
        description="Seconds from a request's arrival after which an event that Kafka has not acknowledged is spooled.",
    )
    max_body_bytes: int = Field(
        MAX_BODY_BYTES,
        ge=1024,
        le=MAX_MESSAGE_BYTES * 3 // 4,
        description="Largest accepted body, in bytes; of a larger one a dead letter has the ids at its beginning.",
    )
    max_json_depth: int = Field(100, ge=8, le=400, description="Deepest nesting of a body that is accepted.")
    memory_bytes: int = Field(
        256 * MEBIBYTE,
        ge=16 * MEBIBYTE,
        description="Memory of one process for events in progress: bodies, the producer's queue and the spool's queue. "
        "What does not fit waits unread in its socket. A process grows by about this much, and by 64 MiB more at most.",
    )
    spool_dir: Path = Field(
        Path("data/spool"),
        description="Directory of the spool, for events that Kafka does not acknowledge; each bridge needs its own.",
    )
    spool_max_bytes: int = Field(
        GIBIBYTE,
        ge=MEBIBYTE,
        description="Largest size of a worker's spool; while it is full, webhooks are answered 503.",
    )
    spool_max_age_s: float | None = Field(
        None, gt=0, description="Spooled events older than this many seconds become dead letters; unset: none do."
    )
    refusal_grace_s: float = Field(
        300.0,
        ge=0,
        description="Seconds after which events that Kafka refuses for lack of authorization become dead letters.",
    )
    shutdown_s: float = Field(20.0, gt=0, description="Seconds for an orderly shutdown; then the process ends at once.")
