"""Whether what a sender was told was accepted is in its topic, and in the views as it was sent."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from confluent_kafka import Message

from support.bridge_process import TOKEN
from support.consume import headers_of, read_all
from support.join_outcome import Outcome, expected_of
from support.join_views import MEMBERS, comparable
from support.load import Attempt, Load
from support.wait import eventually

Envelope = Mapping[str, Any]
_PAGE = 500


def identity(envelope: Envelope) -> tuple[str, str, str]:
    """Return what tells an event of `events_of` apart from all others."""
    return envelope["entity"], envelope["action"], envelope["data"]["id"]


@dataclass
class Judgement:
    """What became of what an organization was told to have been accepted."""

    accepted: set[str]
    lost: set[str]
    differences: list[str]


@dataclass
class Judge:
    """Compares what a load was answered with the topics of a prefix, and with the views of a worker."""

    kafka: str
    prefix: str
    views: Callable[[], str]
    load: Load
    #: Ids of events that were in a topic when somebody deleted them there.
    gone: set[str] = field(default_factory=set)
    #: Ids of the events that were found in the topics, and what tells them apart.
    stored: set[str] = field(default_factory=set)
    found: set[tuple[str, str, str]] = field(default_factory=set)

    def judge(self, organization: str) -> Judgement:
        """Look, for a while, until the views of an organization, and of those named after it, are what was sent.

        The load must have been answered, and no event be in a spool.
        """
        self.look_into_topics()
        attempts = self.attempts_of(organization)
        rows = (attempt.sent["data"] for attempt in attempts)
        organizations = {organization} | {row["organization_id"] for row in rows if "organization_id" in row}
        differences = ["the views do not answer"]

        def shown() -> bool:
            try:
                differences[:] = [line for each in organizations for line in self.differences(each)]
            except httpx.TransportError as error:  # the worker is being replaced
                raise AssertionError(error) from error
            return not differences

        try:
            eventually(shown, within=60, every=0.5)
        except AssertionError as error:
            differences = differences or [str(error)]
        accepted = {attempt.answer["event_id"] for attempt in attempts if attempt.status == httpx.codes.ACCEPTED}
        return Judgement(accepted, accepted - self.stored - self.gone, differences)

    def look_into_topics(self) -> None:
        """Note which events are in their topics."""
        for entity in ("messages", "conversations"):
            for message in read_all(self.kafka, f"{self.prefix}{entity}"):
                if message.headers() is not None and "ce_id" in (headers := headers_of(message)):
                    self.stored.add(headers["ce_id"])
                    self.found.add((entity, headers["ce_type"].rpartition(".")[2], _key(message)))

    def attempts_of(self, organization: str) -> list[Attempt]:
        """Return what was sent of an organization. A receipt does not name it."""
        return [attempt for attempt in list(self.load.attempts) if attempt.key.startswith(f"{organization}-")]

    def differences(self, organization: str) -> list[str]:
        """Return a line for each state in the views of an organization that is not what was sent."""
        sent = [
            one for one in self.attempts_of(organization) if one.status == httpx.codes.ACCEPTED or self.is_found(one)
        ]
        expected = expected_of([attempt.sent for attempt in sent])
        # Who deleted an event before the worker had read it has deleted it, and it is not known when that was.
        lost = [attempt.sent["data"] for attempt in sent if attempt.answer.get("event_id") in self.gone]
        spared = {row["id"] for row in lost} | {row["id"].rpartition("-")[0] for row in lost}
        return [
            f"{kind} {key}: {difference}"
            for kind, shown in self.shown(organization).items()
            for key, difference in _differences(kind, shown, expected, organization)
            if key not in spared
        ]

    def is_found(self, attempt: Attempt) -> bool:
        return identity(attempt.sent) in self.found

    def shown(self, organization: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Return what the views have of an organization: messages and conversations by their ids."""
        shown: dict[str, dict[str, dict[str, Any]]] = {"messages": {}, "conversations": {}}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=self.views(), headers=headers, timeout=20, trust_env=False) as views:
            for kind, found in shown.items():
                query = {"organization_id": organization, "limit": str(_PAGE)}
                while "cursor" not in query or query["cursor"]:
                    answer = views.get(f"/{kind}", params=query)
                    assert answer.status_code == httpx.codes.OK, answer.text
                    page = answer.json()
                    found.update((item["id"], item) for item in page[kind])
                    query["cursor"] = page["next_cursor"]
        return shown


def _key(message: Message) -> str:
    return message.key().decode("utf-8", "replace")


def _differences(
    kind: str, shown: Mapping[str, dict[str, Any]], expected: Outcome, organization: str
) -> Iterator[tuple[str, str]]:
    states = getattr(expected, kind)
    # Of a message of which only a receipt was accepted nobody knows whose it is.
    wanted = {key: state for key, state in states.items() if state["organization_id"] == organization}
    for key in shown.keys() | wanted.keys():
        if key not in shown or key not in wanted:
            yield key, "not shown" if key in wanted else "shown, and was never accepted"
            continue
        names = [name for name in MEMBERS[kind] if name in shown[key]]
        wrong = [name for name in names if comparable(shown[key][name]) != wanted[key][name]]
        if wrong:
            yield key, ", ".join(f"{name} {shown[key][name]} instead of {wanted[key][name]}" for name in wrong)
