"""Topics as the catalogue wants them: created once, verified at each start, never guessed."""

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from avro.catalogue import TOPICS, topic_name
from openbsp.errors import KafkaSettingsError, KafkaUnavailableError, TopicsError
from openbsp.kafka.connection import KafkaSettings, TopicSettings

_TIMEOUT_S = 15.0
_POLL_S = 0.05


class Topics:
    """Creates and verifies the catalogue's topics in a cluster. Blocking."""

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        """Build the client; nothing is sent yet. Raises KafkaSettingsError."""
        self._settings = topics
        self._servers = kafka.bootstrap_servers
        self._cause = ""
        # Trap: while no broker answers, librdkafka writes twenty lines a second to stderr at any log level but 0, and
        # the exception says nothing of the cause; that comes only by the callback.
        config: dict[str, Any] = {**kafka.librdkafka(), "log_level": 0, "error_cb": self._remember}
        try:
            self._admin = AdminClient(config)
        except KafkaException as error:
            raise KafkaSettingsError(f"the KAFKA_ settings cannot be used: {error.args[0].str()}") from None

    def apply(self) -> list[str]:
        """Create the topics that are missing and return their names.

        Existing ones are left as they are, and others may apply at the same time. Raises TopicsError when a topic
        differs or cannot be made, KafkaUnavailableError when no broker answers.
        """
        existing = self._partition_counts()
        missing = [name for name in self._wanted() if name not in existing]
        if missing:
            self._create(missing)
            self._await(missing)
        self.check()
        return missing

    def check(self) -> None:
        """Raise TopicsError with every difference between the cluster and the catalogue, if there is one.

        Raises KafkaUnavailableError when no broker answers.
        """
        counts = self._partition_counts()
        faults = []
        present = []
        for name in self._wanted():
            if name not in counts:
                faults.append(f"{name}: missing; run `bridge topics apply`")
                continue
            present.append(name)
            if counts[name] != self._settings.partitions:
                faults.append(
                    f"{name}: {counts[name]} partitions, the join needs TOPIC_PARTITIONS={self._settings.partitions}"
                )
        faults += self._config_faults(present)
        if faults:
            raise TopicsError(faults)

    def _wanted(self) -> dict[str, str]:
        return {topic_name(self._settings.prefix, name): name for name in TOPICS}

    def _config(self, full_name: str) -> dict[str, str]:
        config = TOPICS[self._wanted()[full_name]].config()
        return {**config, "min.insync.replicas": str(self._settings.min_insync_replicas)}

    def _new_topic(self, full_name: str) -> NewTopic:
        return NewTopic(
            full_name,
            num_partitions=self._settings.partitions,
            replication_factor=self._settings.replication_factor,
            config=self._config(full_name),
        )

    def _create(self, names: list[str]) -> None:
        futures = self._admin.create_topics([self._new_topic(name) for name in names], request_timeout=_TIMEOUT_S)
        faults = []
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    faults.append(f"{name}: cannot be created: {error.args[0].str()}")
        if faults:
            raise TopicsError(faults)

    def _await(self, names: list[str]) -> None:
        # Trap: the controller's answer comes before the brokers know of the topic.
        deadline = time.monotonic() + _TIMEOUT_S
        while not self._partition_counts().keys() >= set(names) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _remember(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 the code's public name in confluent-kafka
            self._cause = error.str()

    def _partition_counts(self) -> dict[str, int]:
        try:
            metadata = self._admin.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            self._admin.poll(0)
            cause = self._cause or error.args[0].str()
            raise KafkaUnavailableError(f"{self._servers}: no broker answered: {cause}") from error
        return {name: len(topic.partitions) for name, topic in metadata.topics.items()}

    def _config_faults(self, names: list[str]) -> list[str]:
        if not names:
            return []
        faults = []
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        for resource, future in self._admin.describe_configs(resources, request_timeout=_TIMEOUT_S).items():
            try:
                actual = future.result()
            except KafkaException as error:
                faults.append(f"{resource.name}: settings cannot be read: {error.args[0].str()}")
                continue
            for setting, wanted in self._config(resource.name).items():
                entry = actual.get(setting)
                if entry is None or entry.value != wanted:
                    value = "unset" if entry is None else entry.value
                    faults.append(f"{resource.name}: {setting} is {value}, the contract says {wanted}")
        return faults
