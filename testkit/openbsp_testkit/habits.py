"""Behaviours of OpenBSP that surprise consumers, each as the webhooks that it sends, in the order of its transactions.

Deliver them in any order, and more than once: the platform then has the rows `present`, and not those in `absent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from openbsp_testkit.rows import Conversation, Message, Webhook


@dataclass(frozen=True)
class Episode:
    """Something that happened to messages. Their `row` is what the database has, or last had."""

    webhooks: list[Webhook]
    present: list[Message]
    absent: list[Message]


def inversion(chat: Conversation) -> Episode:
    """Change a message in two transactions that overlap: the one that began first commits last, with its `updated_at`.

    The number of keys in `status` never falls, so it gives the order.
    """
    message = chat.outgoing()
    began_first, began_second = chat.organization.tick(), chat.organization.tick()
    receipt = message.update(status={**message.row["status"], "sent": began_second}, updated_at=began_second)
    edited = {**message.row["status"], "edited": began_first}
    text = "As it was edited"
    whole = isinstance(message.row["content"]["text"], str)
    content = {**message.row["content"], "text": text if whole else {"body": text}}
    edit = message.update(content=content, status=edited, updated_at=began_first)
    return Episode([message.insert, receipt, edit], [message], [])


def ghost(chat: Conversation) -> Episode:
    """Send a message whose first receipt overtakes the answer to its sending.

    OpenBSP does not know its `external_id` yet and inserts a second row for it. Then it copies the status to the first
    row and deletes the second one, without a webhook.
    """
    message = chat.outgoing(external_id=None)
    sent = {"sent": chat.organization.tick()}
    second = chat.outgoing("", external_id=_external_id(chat), agent_id=None, content={}, status=sent)
    receipt = second.receipt("delivered")
    status = {**message.row["status"], **second.row["status"]}
    told = message.update(external_id=second.row["external_id"], status=status)
    return Episode([message.insert, second.insert, receipt, told], [message], [second])


def deletion(chat: Conversation) -> Episode:
    """Send a message and delete its row, as releases of OpenBSP will report it."""
    message = chat.outgoing()
    return Episode([message.insert, message.receipt("delivered"), message.delete()], [], [message])


def scheduled(chat: Conversation, after: timedelta = timedelta(days=2)) -> Episode:
    """Write a message that is to be sent later: its `timestamp` is in the future, its only status is `pending`."""
    later = datetime.now(timezone.utc) + after
    message = chat.outgoing(timestamp=later.isoformat(timespec="microseconds"))
    return Episode([message.insert], [message], [])


def reaction(message: Message, emoji: str = "👍") -> Episode:
    """React to a message, as the contact does; an empty `emoji` takes the reaction back."""
    chat = message.conversation
    content = {"version": "1", "type": "text", "kind": "reaction", "text": emoji, "re_message_id": message.id}
    reacted = chat.incoming(emoji, content=content)
    return Episode([reacted.insert], [message, reacted], [])


def archived(chat: Conversation) -> Webhook:
    """Archive a conversation as the user interface does: in `extra`; its `status` stays."""
    return _extra(chat, archived=chat.organization.tick())


def draft(chat: Conversation, text: str = "What I was about to") -> Webhook:
    """Save a draft; no activity that others see."""
    return _extra(chat, draft=text)


def failed_download(chat: Conversation) -> Episode:
    """Receive a file that cannot be downloaded: `error` is a text and the only key of `status`."""
    content = {"version": "1", "type": "file", "kind": "image", "file": {"mime_type": "image/jpeg"}}
    message = chat.incoming("", content=content)
    failure = message.update(status={"error": "the media could not be downloaded"})
    return Episode([message.insert, failure], [message], [])


def taken_back(chat: Conversation) -> Episode:
    """Set a key of `status` to null, which takes it back."""
    message = chat.outgoing()
    receipts = [message.receipt("sent"), message.receipt("failed")]
    null = message.update(status={**message.row["status"], "failed": None})
    return Episode([message.insert, *receipts, null], [message], [])


SPELLINGS: tuple[Callable[[datetime], str], ...] = (
    lambda instant: f"{instant:%Y-%m-%dT%H:%M:%S}Z",
    lambda instant: f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03}+00:00",
    lambda instant: f"{instant:%Y-%m-%dT%H:%M:%S.%f}7Z",
    lambda instant: f"{instant:%Y-%m-%dT%H:%M:%S.%f}891Z",
    lambda instant: f"{instant.astimezone(timezone(timedelta(hours=-3))):%Y-%m-%dT%H:%M:%S.%f}-03:00",
    lambda instant: f"{instant:%Y-%m-%d %H:%M:%S.%f}+00",
)
"""How PostgreSQL, Go, .NET and JavaScript write an instant: 0 to 9 digits of a second, Z or an offset."""


def odd_instants(chat: Conversation) -> Episode:
    """Send messages whose status has instants in every spelling that occurs, including those of connectors."""
    messages, webhooks = [], []
    for spell in SPELLINGS:
        message = chat.outgoing()
        now = datetime.fromisoformat(chat.organization.tick())
        webhooks += [message.insert, message.update(status={**message.row["status"], "sent": spell(now)})]
        messages.append(message)
    return Episode(webhooks, messages, [])


def _extra(chat: Conversation, **members: Any) -> Webhook:
    return chat.update(extra={**(chat.row["extra"] or {}), **members})


def _external_id(chat: Conversation) -> str:
    return f"wamid.{chat.organization.new_id().replace('-', '').upper()}"
