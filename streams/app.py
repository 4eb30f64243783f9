"""The program: topics, tables, agents and timers. docs/join.md says of each what it reads and writes.

messages ------> merge_messages -------> messages (table)
                    |         `--------> message-state
                    v
        streams-contributions
                    |
                    v
              merge_contributions -----> conversations (table) <--+-- merge_conversations <------ conversations
                    |         `--------> conversation-state <-----+          |
                    v                                             |          v
              status-changes <------------------------------------'   streams-contributions
                                                                             ^
                                                                    evict_idle (timer)

contacts ------------> merge_contacts --> contacts (table) --+
contacts-addresses --> merge_addresses -> addresses (table) -+----> streams-contributions
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.tracing import Tracing
from streams import schema_ids
from streams.agents.contacts import merge_addresses, merge_contacts
from streams.agents.contributions import People, merge_contributions
from streams.agents.conversations import merge_conversations
from streams.agents.eviction import Eviction, interval_of
from streams.agents.intake import Intake
from streams.agents.messages import merge_messages
from streams.agents.removal import Remover
from streams.contract import SOURCES, Contract
from streams.engine.app import App
from streams.engine.hooks import Hook
from streams.engine.outside import Outside
from streams.settings import StreamsSettings, engine_settings
from streams.tables import contacts, conversations, messages
from streams.tables.contacts import AddressPartition, ContactPartition
from streams.tables.conversations import ConversationPartition
from streams.tables.messages import MessagePartition
from streams.tables.owned import ADDRESSES, CONTACTS, CONVERSATIONS, MESSAGES
from streams.tracing import TracedIntake, TracedSender, Trail

if TYPE_CHECKING:
    from streams.engine.table import Sender


#: Catalogue names of all topics that the program reads or writes.
JOINED = frozenset(
    {*SOURCES, MESSAGES, CONVERSATIONS, CONTACTS, ADDRESSES}
    | {"message-state", "conversation-state", "status-changes", "dead-letters"}
)


class JoinApp(App):
    """The join. `contract` has to get its schema ids (`Contract.use`) before the app is started."""

    contract: Contract
    intake: Intake
    registry: Registry
    #: A message has turned out to be superseded by another one with its external id.
    superseded: Hook[[]]
    #: None unless traces are sent.
    trail: Trail | None


def create_app(
    settings: StreamsSettings,
    kafka: KafkaSettings,
    registry: RegistrySettings,
    topics: TopicSettings,
    outside: Outside | None = None,
    *,
    tracing: Tracing | None = None,
) -> JoinApp:
    """Declare everything; nothing is connected and no event loop is needed."""
    contract = Contract(topics.prefix)
    app = JoinApp(engine_settings(settings, kafka, topics), outside)
    app.contract, app.registry = contract, Registry(registry, topics.prefix)
    app.superseded = Hook()
    app.trail = trail = None if tracing is None else Trail(tracing, contract)

    def sender() -> "Sender":
        return app.engine.writer if trail is None else TracedSender(app.engine.writer, trail)

    async def schema_text(schema_id: int) -> str:
        return await app.outside.threads.run(app.registry.text, schema_id)

    learn = partial(schema_ids.learn, contract, schema_text)
    if trail is None:
        intake = Intake(contract, sender, learn)
    else:
        intake = TracedIntake(contract, sender, learn, trail=trail)
        app.hooks.acknowledged.add(trail.acknowledged)
    app.intake, app.set_aside = intake, intake.set_aside
    remover = Remover(intake, sender)

    def topic(name: str) -> Any:
        return app.topic(
            contract.topic(name), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

    message_table = app.Table(
        "messages",
        source="messages",
        changelog=MESSAGES,
        guarded=("message-state",),
        join=messages.join_stored,
        contents=lambda rows: MessagePartition(rows, contract, sender(), app.superseded),
        help="All that was received of each message, merged column by column.",
    )
    conversation_table = app.Table(
        "conversations",
        source="conversations",
        changelog=CONVERSATIONS,
        guarded=("conversation-state",),
        join=conversations.join_stored,
        grouped=True,
        contents=lambda rows: ConversationPartition(rows, contract, sender(), settings.conversations_in_use),
        help="The row of each conversation, and what each of its messages adds to it.",
    )

    # Contacts do not write by `sender()`: what they cause is in no trace (`Trail`), and need not be read for one.
    contact_table = app.Table(
        "contacts",
        source="contacts",
        changelog=CONTACTS,
        join=contacts.join_stored_contacts,
        contents=lambda rows: ContactPartition(rows, contract, app.engine.writer),
        help="The name of each contact, and the addresses that rows give to it.",
    )
    address_table = app.Table(
        "addresses",
        source="contacts-addresses",
        changelog=ADDRESSES,
        join=contacts.join_stored_addresses,
        contents=lambda rows: AddressPartition(rows, contract, app.engine.writer),
        help="The contact of each address, and the conversations that have it.",
    )

    app.agent(topic("messages"), name="merge_messages")(merge_messages(message_table.of, intake, remover))
    app.agent(topic("conversations"), name="merge_conversations")(
        merge_conversations(conversation_table.of, intake, remover)
    )
    app.agent(topic("contacts"), name="merge_contacts")(merge_contacts(contact_table.of, intake))
    app.agent(topic("contacts-addresses"), name="merge_addresses")(merge_addresses(address_table.of, intake))
    app.agent(topic("streams-contributions"), name="merge_contributions")(
        merge_contributions(
            message_table.of, conversation_table.of, People(contact_table.of, address_table.of), intake, remover
        )
    )

    if settings.idle_after_s is not None:
        eviction = Eviction(
            settings.idle_after_s,
            {name: full for full, name in contract.names.items()},
            conversations=lambda: conversation_table.owned.contents,
            sender=sender,
            merged=lambda: app.engine.barrier(),  # noqa: PLW0108 there is no engine before the app runs
        )
        app.timer(interval_of(settings.idle_after_s), name="evict_idle")(eviction.search)
    return app
