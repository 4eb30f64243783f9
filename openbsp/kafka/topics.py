"""The catalogue's topics in Kafka: created once, verified at each start and while running."""

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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
from openbsp.kafka.findings import DAY_MS, NO_ID, ONLY_JUDGED, Finding, Grade, Inspection, judge
from openbsp.log import event

if TYPE_CHECKING:
    from concurrent.futures import Future

_log = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
_POLL_S = 0.05
#: How long an answer is waited for. Trap: librdkafka gives up after _TIMEOUT_S by itself, unless it has a fault.
_PATIENCE_S = _TIMEOUT_S + 10.0

#: What `migrate` sets on existing topics: it changes no record and disturbs no client.
_MIGRATED = "message.timestamp.type"

#: Errors with which the broker has answered, as opposed to no answer.
_ANSWERED = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED})
#: Nobody has answered. Trap: librdkafka may have lost its last broker by then, for good: docs/decisions/0242.
_UNANSWERED = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT})  # noqa: SLF001 the codes' public names
_NO_WORD = f"librdkafka itself has given no word in {_PATIENCE_S:g} s; it is asked again through a new client"
#: A broker answers and does not let this client in.
_REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001 the codes' public names


class _Asked(NamedTuple):
    """Answers to come, of the client with that number, until a time of the monotonic clock.

    Trap: it must not refer to the client. An exception that is on its way would keep a replaced one, with its threads,
    and have it closed on the event loop, for which librdkafka may wait for seconds.
    """

    number: int
    until: float
    answers: Mapping[Any, "Future[Any]"]


class Topics:
    """Creates and verifies the catalogue's topics in a cluster. Blocking.

    No method waits for ever. After a question without an answer, the next one is asked through a new client: see
    docs/decisions/0242.
    """

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        """Build the client; nothing is sent yet. Raises KafkaSettingsError."""
        self._settings = topics
        self._servers = kafka.bootstrap_servers
        self._cause: KafkaError | None = None
        self._refused = False
        # Trap: while no broker answers, librdkafka writes twenty lines a second to stderr at any log level but 0, and
        # the exception does not have the cause; only the callback gets that.
        self._config: dict[str, Any] = {**kafka.librdkafka(), "log_level": 0, "error_cb": self._remember}
        self._number = 0
        try:
            self._admin = AdminClient(self._config)
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
        wanted = {name: self._wanted_config(name)[_MIGRATED] for name in names}
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
            asked = self._asked(self._admin.incremental_alter_configs(resources, request_timeout=_TIMEOUT_S))
            for resource in asked.answers:
                try:
                    self._answer(asked, resource)
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
                description = self._answer(asked, full_name)
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
        for full_name in asked.answers:
            try:
                identity = self._answer(asked, full_name).topic_id
            except KafkaException as error:
                _log.warning(
                    "%s: topic id unknown, so a topic that was created again would not be noticed now: %s",
                    full_name,
                    error.args[0].str(),
                    extra=event("topics.id_unknown", topic=full_name),
                )
                continue
            if str(identity) != NO_ID:
                found[full_name] = str(identity)
        return found

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return the id and the number of partitions of a topic of the catalogue, None if there is none to be seen.

        Raises KafkaUnavailableError when no broker answers.
        """
        full_name = topic_name(self._settings.prefix, name)
        try:
            found = self._answer(self._describe([full_name]), full_name)
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

    def _describe(self, full_names: Iterable[str]) -> _Asked:
        self._refused = False
        return self._asked(self._admin.describe_topics(TopicCollection(list(full_names)), request_timeout=_TIMEOUT_S))

    def _answer(self, asked: _Asked, question: Any) -> Any:
        """Wait for an answer, at most until the last broker refuses this client. Raises KafkaException."""
        while True:
            try:
                return asked.answers[question].result(_POLL_S)
            except TimeoutError:
                self._admin.poll(0)
                if self._refused and self._cause is not None:
                    raise KafkaException(self._cause) from None
                if time.monotonic() >= asked.until:
                    self._replace(asked.number)
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, _NO_WORD)) from None  # noqa: SLF001
            except KafkaException as error:
                if error.args[0].code() in _UNANSWERED:
                    self._replace(asked.number)
                raise

    def _asked(self, answers: "Mapping[Any, Future[Any]]") -> _Asked:
        return _Asked(self._number, time.monotonic() + _PATIENCE_S, answers)

    def _replace(self, number: int) -> None:
        """Ask through another client than the one with this number from now on. That is closed here."""
        if self._number == number:
            self._admin.poll(0)  # what it knows of the cause
            # No memory or threads for another one: the same is asked again.
            with contextlib.suppress(KafkaException):
                self._admin = AdminClient(self._config)
                self._number += 1

    def _not_described(self, full_name: str, topic: str, error: KafkaException) -> Finding:
        code = error.args[0].code()
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return Finding(topic, Grade.WRONG, f"{full_name}: missing; run `bridge topics apply`")
        if code not in _ANSWERED:
            raise self._unavailable(error) from error
        return Finding(topic, Grade.RISK, f"{full_name}: cannot be verified: {error.args[0].str()}")

    def _wanted(self) -> dict[str, str]:
        return {topic_name(self._settings.prefix, name): name for name in TOPICS}

    def _wanted_config(self, full_name: str) -> dict[str, str]:
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
            config=self._wanted_config(full_name),
        )

    def _create(self, names: list[str]) -> None:
        topics = [self._new_topic(name) for name in names]
        asked = self._asked(self._admin.create_topics(topics, request_timeout=_TIMEOUT_S))
        faults = []
        for name in asked.answers:
            try:
                self._answer(asked, name)
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
        number = self._number
        try:
            metadata = self._admin.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            self._replace(number)
            raise self._unavailable(error) from error
        return set(metadata.topics)

    def _configs(self, names: list[str]) -> tuple[dict[str, Mapping[str, str | None]], dict[str, str]]:
        """Return the settings of each topic, and the reason for those that cannot be read."""
        if not names:
            return {}, {}
        found: dict[str, Mapping[str, str | None]] = {}
        unreadable = {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        asked = self._asked(self._admin.describe_configs(resources, request_timeout=_TIMEOUT_S))
        for resource in asked.answers:
            try:
                found[resource.name] = {name: entry.value for name, entry in self._answer(asked, resource).items()}
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
            judged = {setting: value for setting, value in ONLY_JUDGED.items() if actual.get(setting) is not None}
            for setting, value in (self._wanted_config(name) | judged).items():
                finding = judge(wanted[name], name, setting, actual.get(setting), value)
                if finding is not None:
                    findings.append(finding)
        return findings
