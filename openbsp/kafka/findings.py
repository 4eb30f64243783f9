"""How a topic differs from the catalogue, and how much that matters. Pure."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from openbsp.errors import TopicsError

DAY_MS = 24 * 60 * 60 * 1000
#: The id of topics of brokers that give them none (before Kafka 2.8): it says nothing of a topic.
NO_ID = "A" * 22

#: Settings that are judged and never set, because managed clusters refuse that.
ONLY_JUDGED = MappingProxyType({"unclean.leader.election.enable": "false"})


class Grade(Enum):
    """The consequence of a difference."""

    #: Results would be wrong: a worker of the topic does not start (but see `if_read_late`), and the bridge publishes
    #: nothing to it.
    WRONG = "wrong"
    #: Something can be lost, refused or deleted early.
    RISK = "risk"
    #: Another choice than the project's, which is harmless.
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference. `topic` is the name in the catalogue, without prefix; `text` has the full name."""

    topic: str
    grade: Grade
    text: str
    #: Only what is read late is lost by it, so a worker that did not start because of it would lose the most.
    if_read_late: bool = False

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{self.grade.value}: {self.text}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of inspecting the cluster. `identities` has the id of each existing topic, by catalogue name.

    A topic that was deleted and recreated has another id.
    """

    findings: tuple[Finding, ...]
    identities: Mapping[str, str]

    def of(self, grade: Grade) -> list[Finding]:
        """Return the findings of a grade."""
        return [finding for finding in self.findings if finding.grade is grade]

    def demand(self, needed: Collection[str] | None = None, read: Collection[str] = ()) -> None:
        """Raise TopicsError with everything that would make results wrong, if there is anything.

        With `needed` (catalogue names): with what makes the results of a worker of these topics wrong, that reads
        those of them that are in `read`.
        """
        wrong = self.of(Grade.WRONG)
        if needed is not None:
            wrong = [
                finding
                for finding in wrong
                if finding.topic in needed and not (finding.if_read_late and finding.topic in read)
            ]
        if wrong:
            raise TopicsError([finding.text for finding in wrong])


def judge(topic: str, full_name: str, setting: str, actual: str | None, wanted: str) -> Finding | None:
    """Return how a topic's setting differs from the wanted one, None if it does not."""
    if actual == wanted:
        return None
    value = "unset" if actual is None else actual
    grade, consequence = _CONSEQUENCES[setting](actual, wanted)
    text = f"{full_name}: {setting} is {value}, the contract says {wanted}{consequence}"
    # Compaction leaves the segment alone that is written to.
    return Finding(topic, grade, text, if_read_late=(setting, wanted) == ("cleanup.policy", "delete"))


_Judged = tuple[Grade, str]


def _policy(actual: str | None, wanted: str) -> _Judged:
    if wanted == "delete":
        return Grade.WRONG, ": all but the newest record of a key can go unread; set it with kafka-configs"
    if actual == "delete":
        return Grade.WRONG, ": states would be deleted by age; set it with kafka-configs"
    return Grade.WRONG, ": records that are needed would be removed; set it with kafka-configs"


def _at_least(risk: str) -> Callable[[str | None, str], _Judged]:
    return lambda actual, wanted: (Grade.RISK, risk) if _number(actual) < int(wanted) else (Grade.CHOICE, "")


def _retention(actual: str | None, _: str) -> _Judged:
    # Unlimited is -1.
    if 0 <= _number(actual) < DAY_MS:
        return Grade.RISK, ": records are deleted that a worker may not have read yet"
    return Grade.CHOICE, ""


def _erasure(actual: str | None, wanted: str) -> _Judged:
    if actual is None or int(actual) > int(wanted):
        return Grade.CHOICE, ": what was deleted may stay in the log for longer; kafka-configs sets it"
    return Grade.CHOICE, ""


def _timestamps(_: str | None, __: str) -> _Judged:
    return Grade.RISK, ": a producer's wrong clock decides what retention deletes; run `bridge topics apply`"


def _unclean(_: str | None, __: str) -> _Judged:
    return Grade.RISK, ": a replica that lacks acknowledged records may become the leader, and they are lost"


_compaction = _at_least(": a worker that comes back late may miss what was removed")
_CONSEQUENCES = {
    "cleanup.policy": _policy,
    "max.message.bytes": _at_least(": larger records are refused and become dead letters"),
    "retention.ms": _retention,
    "min.insync.replicas": _at_least(": an acknowledged record may be on fewer replicas"),
    "min.compaction.lag.ms": _compaction,
    "max.compaction.lag.ms": _erasure,
    "delete.retention.ms": _compaction,
    "message.timestamp.type": _timestamps,
    "unclean.leader.election.enable": _unclean,
}


def _number(text: str | None) -> int:
    return 0 if text is None else int(text)
