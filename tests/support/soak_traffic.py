"""Webhooks of a platform on which as much lives at the end as after a minute. Imports nothing of the project.

A pool of conversations is written again and again. Others pass: they are opened, answered, read, sometimes deleted, and
when nothing has happened in them for a while the join forgets them.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

Envelope = dict[str, Any]

ORGANIZATIONS = 10
CONVERSATIONS = 200
#: Messages of a conversation of the pool, incoming and outgoing in turns.
_MESSAGES = 4
_CONTACTS = 100
#: Webhooks of a turn: of the pool, of a contact, of passing conversations.
_TURN, _OF_THE_POOL, _STORIES, _STEPS = 20, 9, 2, 5
#: Turns between two steps of a passing conversation.
_STEP_TURNS = 5


def organization(number: int) -> str:
    """Return the id of an organization."""
    return f"org-{number % ORGANIZATIONS}"


def pool_id(number: int) -> str:
    """Return the id of a conversation of the pool."""
    return f"pool-{number % CONVERSATIONS}"


class Traffic:
    """Called for each webhook, with numbers from 0 on."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self._begun = datetime.now(UTC)
        self._names: dict[int, str] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._contacts: dict[int, str] = {}
        #: How many conversations have passed, or begun to.
        self.passed = 0

    def __call__(self, number: int) -> Envelope:
        """Return the body of a webhook."""
        turn, place = divmod(number, _TURN)
        if place < _OF_THE_POOL:
            return self._pool(turn * _OF_THE_POOL + place)
        if place == _OF_THE_POOL:
            return self._contact(turn)
        step, which = divmod(place - _OF_THE_POOL - 1, _STORIES)
        begun = turn - step * _STEP_TURNS
        # Before the first ones have come so far, the pool is written instead.
        return self._pool(number) if begun < 0 else self._passing(begun * _STORIES + which, step)

    @property
    def is_whole(self) -> bool:
        """Whether all of the pool was written at least once."""
        return len(self._names) == CONVERSATIONS and len(self._contacts) == _CONTACTS

    def expected(self) -> dict[str, Envelope]:
        """Return by id what has to be shown of the pool: some members of each conversation."""
        return {
            pool_id(number): {
                "organization_id": organization(number),
                "name": name,
                "known": True,
                "message_count": _MESSAGES,
                "incoming_count": _MESSAGES // 2,
                "outgoing_count": _MESSAGES // 2,
                "last_message.preview": self._texts[number, _MESSAGES - 1],
                "contact.name": self._contacts[number % _CONTACTS],
            }
            for number, name in self._names.items()
        }

    def texts(self) -> dict[str, str]:
        """Return by id what the messages of the pool have to say."""
        return {_message_id(*which): text for which, text in self._texts.items()}

    def _pool(self, number: int) -> Envelope:
        """Write a conversation, or one of its messages, once more: whole rows, of which the newest one counts."""
        which, conversation = divmod(number, CONVERSATIONS)
        place = which % (_MESSAGES + 1)
        if place == _MESSAGES:
            name = self._names[conversation] = f"name {number}"
            # Trap: only a conversation with an instant that is still to come is never forgotten.
            created = self._begun + timedelta(days=2)
            return _event(
                "conversations", "update", self._conversation(pool_id(conversation), conversation, name, created)
            )
        text = self._texts[conversation, place] = f"text {number}"
        key = _message_id(conversation, place)
        said = self._begun + timedelta(seconds=place)
        return _event(
            "messages", "update", self._message(key, pool_id(conversation), conversation, place, text=text, said=said)
        )

    def _contact(self, turn: int) -> Envelope:
        number = turn // 2 % _CONTACTS
        own = {"organization_id": organization(number), "created_at": _text(self._begun), "updated_at": _now()}
        if turn % 2:
            name = self._contacts[number] = f"contact {turn}"
            return _event("contacts", "update", {"id": _contact_id(number), "name": name, **own})
        row = {"service": "whatsapp", "address": _address(number), "contact_id": _contact_id(number), **own}
        return _event("contacts_addresses", "update", row)

    def _passing(self, story: int, step: int) -> Envelope:
        key, now = f"passing-{story}", datetime.now(UTC)
        answer = {"id": f"{key}-1", "organization_id": organization(story), "conversation_id": key}
        if step == 0:
            self.passed = story + 1
            return _event("conversations", "insert", self._conversation(key, story, key, now))
        if step <= _MESSAGES // 2:
            place = step - 1
            row = self._message(f"{key}-{place}", key, story, place, text=f"text {story}", said=now)
            return _event("messages", "insert", row)
        if step == _STEPS - 1 and story % 11 == 0:
            return _event("messages", "delete", answer)
        if step == _STEPS - 1 and story % 53 == 1:
            return _event("conversations", "delete", {"id": key, "organization_id": organization(story)})
        # A receipt as the documentation shows it.
        status = "delivered" if step < _STEPS - 1 else "read"
        return _event("messages", "update", {"id": answer["id"], "status": {status: _now()}, "updated_at": _now()})

    @staticmethod
    def _conversation(key: str, number: int, name: str, created: datetime) -> Envelope:
        return {
            "id": key,
            "organization_id": organization(number),
            "service": "whatsapp",
            "organization_address": "375446602312881",
            "contact_address": _address(number % _CONTACTS),
            "name": name,
            "status": "active",
            "extra": {},
            "created_at": _text(created),
            "updated_at": _now(),
        }

    @staticmethod
    def _message(key: str, conversation: str, number: int, place: int, *, text: str, said: datetime) -> Envelope:
        return {
            "id": key,
            "external_id": f"wamid.{key}",
            "organization_id": organization(number),
            "conversation_id": conversation,
            "service": "whatsapp",
            "organization_address": "375446602312881",
            "contact_address": _address(number % _CONTACTS),
            "direction": "outgoing" if place % 2 else "incoming",
            "content": {"type": "text", "kind": "text", "text": text},
            "status": {"pending": _text(said)},
            "timestamp": _text(said),
            "created_at": _text(said),
            "updated_at": _now(),
        }


def _event(entity: str, action: str, row: Envelope) -> Envelope:
    return {"entity": entity, "action": action, "data": row}


def _message_id(conversation: int, place: int) -> str:
    return f"{pool_id(conversation)}-{place}"


def _contact_id(number: int) -> str:
    return f"contact-{number}"


def _address(number: int) -> str:
    return f"5215{number:04}"


def _text(moment: datetime) -> str:
    return moment.isoformat()


def _now() -> str:
    return _text(datetime.now(UTC))
