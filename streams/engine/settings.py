"""Settings of the engine."""

from dataclasses import dataclass
from pathlib import Path

from openbsp.kafka.connection import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of one worker. All workers of an application share `app_id` and divide the partitions among them."""

    app_id: str
    kafka: KafkaSettings
    #: Address at which other workers reach this one.
    url: str
    #: Number of partitions of each source.
    partitions: int
    #: Prefix of logs' names that gives their topics.
    topic_prefix: str = ""
    #: Directory of the RocksDB stores; None: tables are kept in memory.
    data_dir: Path | None = None
    rocksdb_memory_bytes: int = 256 * 1024 * 1024
    #: Seconds after which deleted data is in no file of a store any more, plus the time of a compaction.
    store_compaction_s: float = 24 * 60 * 60
    #: Seconds for which the changelogs keep tombstones: a store that was saved before then is rebuilt.
    tombstones_s: int = 24 * 60 * 60
    #: Milliseconds for which changes of a key may wait to be written once; 0: each.
    coalesce_ms: int = 50
    batch_records: int = 5_000
    #: Seconds of work after which other tasks (reads, commits, the lease) run.
    turn_s: float = 0.02
    in_flight_records: int = 100_000
    commit_interval_ms: int = 1_000
    session_timeout_s: float = 10.0
    #: A partition whose changelogs have more records than this to be read is taken over after the others, which go on
    #: meanwhile.
    late_records: int = 20_000
    #: How many workers beside its owner have a standby copy of each partition; needs a data directory.
    standbys: int = 0
    #: The operator's names of `url` and `data_dir`, for sentences that ask for others.
    url_setting: str = "url"
    data_dir_setting: str = "data_dir"
    #: What the operator can do about topics that were given more partitions: a sentence, without its full stop.
    more_partitions: str = "Move to other topics with more partitions"

    def __post_init__(self) -> None:
        """Raise ValueError if standby copies have no data directory."""
        if self.standbys and self.data_dir is None:
            raise ValueError("standby copies are kept on disk: they need a data directory")

    @property
    def lease_s(self) -> float:
        """Seconds for which a worker may go on unconfirmed.

        Less than the group's session time-out: later writes might follow a takeover.
        """
        return self.session_timeout_s * 0.8

    @property
    def in_flight_s(self) -> float:
        """Seconds for which a record may wait for its acknowledgement before nothing more is written.

        A part of the lease, after which it would fail: the rest is for what has been written meanwhile.
        """
        return self.lease_s / 8
