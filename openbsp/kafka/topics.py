"""The catalogue's topics in Kafka: created once, verified at each start and while running."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from avro.catalogue import TOPICS, topic_name
from openbsp.errors import KafkaSettingsError, KafkaUnavailableError, TopicsError
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.findings import DAY_MS, Finding, Grade, Inspection, judge
from openbsp.log import event

_log = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
_POLL_S = 0.05
#: The id of topics of brokers that have no ids.
_NO_ID = "A" * 22

Answer = TypeVar("Answer")

#: What `migrate` sets on existing topics: it changes no record and disturbs no client.
_MIGRATED = "message.timestamp.type"

#: Errors with which the broker has answered, as opposed to no answer.
_ANSWERED = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED})
#: A broker answers and does not let this client in.
_REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001 the codes' public names


class Topics:
    """Creates and verifies the catalogue's topics in a cluster. Blocking."""

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        """Build the client; nothing is sent yet. Raises KafkaSettingsError."""
        self._settings = topics
        self._servers = kafka.bootstrap_servers
        self._cause: KafkaError | None = None
        self._refused = False
        # Trap: while no broker answers, librdkafka writes twenty lines a second to stderr at any log level but 0, and
        # the exception does not have the cause; only the callback gets that.
        config: dict[str, Any] = {**kafka.librdkafka(), "log_level": 0, "error_cb": self._remember}
        try:
            self._admin = AdminClient(config)
        except KafkaException as error:
            raise KafkaSettingsError(f"the KAFKA_ settings cannot be used: {error.args[0].str()}") from None

    def apply(self) -> list[str]:
        """Create the topics that are missing and return their names.

        Existing ones are left as they are, and others may apply at the same time. Raises TopicsError when a topic is
        wrong or cannot be made, KafkaUnavailableError when no broker answers.
        """
        created: set[str] = set()
        deadline = time.monotonic() + _TIMEOUT_S
        inspection = self.inspect()
        # Trap: brokers learn of the controller's changes later than its client. A just created topic is still missing,
        # and a just deleted one is still there, or its name taken: only the final state counts.
        while time.monotonic() < deadline:
            missing = [name for name, topic in self._wanted().items() if topic not in inspection.identities]
            if not missing:
                break
            self._create(missing)
            created.update(missing)
            time.sleep(_POLL_S)
            inspection = self.inspect()
        inspection.demand()
        return [name for name in self._wanted() if name in created]

    def migrate(self) -> list[str]:
        """Make existing topics use the broker's clock, and return the names of those that did not.

        Raises TopicsError when that is refused, KafkaUnavailableError when no broker answers.
        """
        existing = self._existing()
        names = [name for name in self._wanted() if name in existing]
        wanted = {name: self._config(name)[_MIGRATED] for name in names}
        actual, _ = self._configs(names)
        changed = [name for name in names if name in actual and actual[name].get(_MIGRATED) != wanted[name]]
        entries = {
            name: [ConfigEntry(_MIGRATED, wanted[name], incremental_operation=AlterConfigOpType.SET)]
            for name in changed
        }
        faults = []
        resources = [
            ConfigResource(ResourceType.TOPIC, name, incremental_configs=of_it) for name, of_it in entries.items()
        ]
        if resources:
            answers = self._admin.incremental_alter_configs(resources, request_timeout=_TIMEOUT_S)
            for resource, future in answers.items():
                try:
                    future.result()
                except KafkaException as error:
                    faults.append(
                        f"{resource.name}: {_MIGRATED} cannot be set to {wanted[resource.name]}, which needs the right "
                        f"AlterConfigs: {error.args[0].str()}"
                    )
        if faults:
            raise TopicsError(faults)
        return changed

    def check(self, needed: Collection[str] | None = None, read: Collection[str] = ()) -> list[Finding]:
        """Raise TopicsError with everything that would make results wrong; return what else can lose something.

        `needed` and `read`: see Inspection.demand. Raises KafkaUnavailableError when no broker answers.
        """
        inspection = self.inspect()
        inspection.demand(needed, read)
        return [finding for finding in inspection.findings if finding.grade is not Grade.CHOICE]

    def inspect(self) -> Inspection:
        """Return every difference between the cluster and the catalogue. Changes nothing.

        Raises KafkaUnavailableError when no broker answers.
        """
        findings = []
        identities = {}
        present = []
        asked = self._describe(self._wanted())
        for full_name, topic in self._wanted().items():
            try:
                description = self._answer(asked[full_name])
            except KafkaException as error:
                findings.append(self._not_described(full_name, topic, error))
                continue
            present.append(full_name)
            identities[topic] = str(description.topic_id)
            count = len(description.partitions)
            if count != self._settings.partitions:
                findings.append(
                    Finding(
                        topic,
                        Grade.WRONG,
                        f"{full_name}: {count} partitions, the join needs TOPIC_PARTITIONS={self._settings.partitions}",
                    )
                )
        return Inspection((*findings, *self._config_findings(present)), identities)

    def identities(self, names: Collection[str] = TOPICS) -> Mapping[str, str]:
        """Return the id of each of these topics (catalogue names), by its full name: a recreated one has another.

        A topic whose id no broker returns now is left out.
        """
        found = {}
        asked = self._describe(topic_name(self._settings.prefix, name) for name in names)
        for full_name in asked:
            try:
                identity = self._answer(asked[full_name]).topic_id
            except KafkaException as error:
                _log.warning(
                    "%s: topic id unknown, so a topic that was created again would not be noticed now: %s",
                    full_name,
                    error.args[0].str(),
                    extra=event("topics.id_unknown", topic=full_name),
                )
                continue
            if str(identity) != _NO_ID:
                found[full_name] = str(identity)
        return found

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return the id and the number of partitions of a topic of the catalogue, None if there is none to be seen.

        Raises KafkaUnavailableError when no broker answers.
        """
        full_name = topic_name(self._settings.prefix, name)
        try:
            found = self._answer(self._describe([full_name])[full_name])
        except KafkaException as error:
            if error.args[0].code() in _ANSWERED:
                return None
            raise self._unavailable(error) from error
        return str(found.topic_id), len(found.partitions)

    def settings(self, names: list[str]) -> Mapping[str, Mapping[str, str | None]]:
        """Return the settings of topics, by catalogue name; none of one that is missing or cannot be read."""
        wanted = self._wanted()
        found, _ = self._configs([full_name for full_name, name in wanted.items() if name in names])
        return {wanted[full_name]: of_it for full_name, of_it in found.items()}

    def _describe(self, full_names: Iterable[str]) -> dict[str, Future[Any]]:
        self._refused = False
        return self._admin.describe_topics(TopicCollection(list(full_names)), request_timeout=_TIMEOUT_S)

    def _answer(self, asked: Future[Answer]) -> Answer:
        """Wait for an answer, but at most until the last broker refuses this client. Raises KafkaException."""
        while True:
            try:
                return asked.result(_POLL_S)
            except TimeoutError:
                self._admin.poll(0)
                if self._refused and self._cause is not None:
                    raise KafkaException(self._cause) from None

    def _not_described(self, full_name: str, topic: str, error: KafkaException) -> Finding:
        code = error.args[0].code()
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return Finding(topic, Grade.WRONG, f"{full_name}: missing; run `bridge topics apply`")
        if code not in _ANSWERED:
            raise self._unavailable(error) from error
        return Finding(topic, Grade.RISK, f"{full_name}: cannot be verified: {error.args[0].str()}")

    def _wanted(self) -> dict[str, str]:
        return {topic_name(self._settings.prefix, name): name for name in TOPICS}

    def _config(self, full_name: str) -> dict[str, str]:
        topic = TOPICS[self._wanted()[full_name]]
        config = {**topic.config(), "min.insync.replicas": str(self._settings.min_insync_replicas)}
        if topic.retention_ms is not None and topic.name != "audits":
            dead = topic.name == "dead-letters"
            days = self._settings.dead_letter_retention_days if dead else self._settings.retention_days
            config["retention.ms"] = str(round(days * DAY_MS) or -1)
        return config

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

    def _remember(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 the code's public name in confluent-kafka
            self._cause = error
        elif self._cause is not None and self._cause.code() in _REFUSED:
            # librdkafka would retry, with the same password, until the time is over.
            self._refused = True

    def _unavailable(self, error: KafkaException) -> KafkaUnavailableError:
        self._admin.poll(0)
        return KafkaUnavailableError(f"{self._servers}: no broker answered: {(self._cause or error.args[0]).str()}")

    def _existing(self) -> set[str]:
        try:
            metadata = self._admin.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            raise self._unavailable(error) from error
        return set(metadata.topics)

    def _configs(self, names: list[str]) -> tuple[dict[str, Mapping[str, str | None]], dict[str, str]]:
        """Return the settings of each topic, and the reason for those that cannot be read."""
        if not names:
            return {}, {}
        found: dict[str, Mapping[str, str | None]] = {}
        unreadable = {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        for resource, future in self._admin.describe_configs(resources, request_timeout=_TIMEOUT_S).items():
            try:
                found[resource.name] = {name: entry.value for name, entry in future.result().items()}
            except KafkaException as error:
                unreadable[resource.name] = error.args[0].str()
        return found, unreadable

    def _config_findings(self, names: list[str]) -> list[Finding]:
        found, unreadable = self._configs(names)
        wanted = self._wanted()
        findings = [
            Finding(wanted[name], Grade.RISK, f"{name}: settings cannot be read: {why}")
            for name, why in unreadable.items()
        ]
        for name, actual in found.items():
            for setting, value in self._config(name).items():
                finding = judge(wanted[name], name, setting, actual.get(setting), value)
                if finding is not None:
                    findings.append(finding)
        return findings
