"""Settings of a streams worker, from the environment."""

from enum import Enum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from avro.catalogue import CHANGELOG_TOMBSTONES_MS
from openbsp.http.settings import ServiceSettings
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from streams.engine.settings import EngineSettings

#: Listen addresses that are not reachable from another machine.
_WILDCARDS = {"0.0.0.0", "::"}


class StoreKind(Enum):
    """Where tables are kept besides their changelogs."""

    MEMORY = "memory"
    ROCKSDB = "rocksdb"


class StreamsSettings(ServiceSettings):
    """One worker. All workers of an application share `app_id` and divide the partitions among them."""

    model_config = SettingsConfigDict(env_prefix="STREAMS_", frozen=True, hide_input_in_errors=True)

    app_id: str = Field("openbsp-streams", pattern=r"^[a-zA-Z0-9._-]{1,200}$", description="Consumer group.")
    port: int = Field(8090, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    bridge_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Address of the bridge, whose spool and dead letters the live page shows; unset: it does not.",
    )
    bridge_token: SecretStr | None = Field(
        None, description="The token for the bridge's metrics, such as its BRIDGE_METRICS_TOKEN."
    )
    advertised_url: str | None = Field(
        None, description="Address at which other workers reach this one's views; unset: http://HOST:PORT."
    )
    store: StoreKind = Field(StoreKind.ROCKSDB, description="Where tables are kept besides their changelogs.")
    data_dir: Path = Field(Path("data/streams"), description="Directory of the RocksDB stores; one worker each.")
    rocksdb_memory_bytes: int = Field(
        256 * 1024 * 1024,
        ge=8 * 1024 * 1024,
        description="Memory for RocksDB's caches and buffers, all stores together.",
    )
    store_compaction_s: float = Field(
        24 * 60 * 60,
        ge=1,
        description="Seconds after which what was deleted is in no file of the RocksDB stores any more: each store is "
        "compacted that often, and files of partitions that this worker does not own any more are removed.",
    )
    standbys: int = Field(
        0,
        ge=0,
        le=1,
        description="1: each partition has a standby copy at another worker, which takes over from there and reads "
        "only the rest of the changelogs; 0: it reads what it has not on its disk. Needs rocksdb, and the same for all "
        "workers.",
    )
    conversations_in_use: int = Field(
        50_000, ge=100, description="Conversations of a partition whose tallies are cached in memory."
    )
    coalesce_ms: int = Field(
        50,
        ge=0,
        le=60_000,
        description="Milliseconds for which changes of a key are coalesced into one write; 0: each is written.",
    )
    idle_after_s: float | None = Field(
        None,
        ge=1,
        description="Seconds after its latest activity in which a conversation may be forgotten, with its messages; "
        "unset: never.",
    )
    batch_records: int = Field(5_000, ge=1, le=100_000, description="Most records in a batch.")
    in_flight_records: int = Field(
        100_000,
        ge=1_000,
        le=1_000_000,
        description="Unacknowledged records after which reading pauses.",
    )
    commit_interval_ms: int = Field(1_000, ge=10, le=60_000, description="Milliseconds between commits of offsets.")
    session_timeout_s: float = Field(
        10.0, ge=2, le=300, description="Seconds without a heartbeat after which other workers take over."
    )
    shutdown_timeout_s: float = Field(
        20.0, gt=0, le=600, description="Seconds for an orderly shutdown; then the process ends at once."
    )
    read_timeout_s: float = Field(
        5.0, gt=0, le=60, description="Seconds that a request waits for a record (`after`) or for another worker."
    )
    read_wait_s: float = Field(
        10.0,
        ge=0,
        le=60,
        description="Seconds that a read waits for its partition to be handed over, restored or caught up with, "
        "before it is answered 503 `not_ready`; 0: it does not wait.",
    )
    waiting_reads: int = Field(
        2_000, ge=1, le=100_000, description="Most reads of a worker that wait at once; more are answered 503 at once."
    )
    stalled_after_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Seconds without progress in a partition with lag after which the worker is not ready.",
    )
    event_streams: int = Field(2_000, ge=1, le=100_000, description="Most open event streams of a worker.")

    @model_validator(mode="after")
    def _room_for_standbys(self) -> Self:
        if self.standbys and self.store is StoreKind.MEMORY:
            raise ValueError(
                "STREAMS_STANDBYS=1 needs STREAMS_STORE=rocksdb: copies of other workers' partitions are kept on disk"
            )
        return self

    @model_validator(mode="after")
    def _known_address(self) -> Self:
        if self.port == 0 and self.advertised_url is None:
            raise ValueError("STREAMS_PORT=0 needs STREAMS_ADVERTISED_URL: other workers must know the address")
        host = urlsplit(self.advertised_url or "").hostname or self.host
        if host in _WILDCARDS:
            raise ValueError(
                f"{host} is no address at which other workers reach this one: set STREAMS_ADVERTISED_URL to one that is"
            )
        return self

    @property
    def url(self) -> str:
        """Address of this worker's views, as other workers use it."""
        return self.advertised_url or f"http://{self.host}:{self.port}"


def engine_settings(settings: StreamsSettings, kafka: KafkaSettings, topics: TopicSettings) -> EngineSettings:
    """Return the settings for the engine."""
    return EngineSettings(
        app_id=settings.app_id,
        kafka=kafka,
        url=settings.url,
        partitions=topics.partitions,
        topic_prefix=topics.prefix,
        data_dir=settings.data_dir if settings.store is StoreKind.ROCKSDB else None,
        rocksdb_memory_bytes=settings.rocksdb_memory_bytes,
        store_compaction_s=settings.store_compaction_s,
        tombstones_s=CHANGELOG_TOMBSTONES_MS // 1000,
        coalesce_ms=settings.coalesce_ms,
        batch_records=settings.batch_records,
        in_flight_records=settings.in_flight_records,
        commit_interval_ms=settings.commit_interval_ms,
        session_timeout_s=settings.session_timeout_s,
        standbys=settings.standbys,
        url_setting="STREAMS_ADVERTISED_URL",
        data_dir_setting="STREAMS_DATA_DIR",
        more_partitions=(
            "Move to topics with more partitions by `streams repartition` (docs/operations.md, More partitions)"
        ),
    )
