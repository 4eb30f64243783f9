"""The views of a worker, with everything that they need."""

from avro.connection import KafkaSettings, TopicSettings
from streams.settings import StreamsSettings
from streams.views.app import Views, create_app
from streams.views.applied import Applied
from streams.views.backlog import Backlog
from streams.views.events import EventStreams
from streams.views.peers import Peers
from streams.views.tables import Tables


class ViewsService:
    """The ASGI application `app`, and `tables`, which is the worker's observer."""

    def __init__(self, settings: StreamsSettings, kafka: KafkaSettings, topics: TopicSettings) -> None:
        """Build everything on the running event loop; nothing is connected yet. Raises TokensError."""
        connection = kafka.librdkafka()
        self.tables = Tables(topics.partitions, topics.prefix)
        # What another worker waits for may take as long as the settings allow, and a little for the way.
        self._peers = Peers(settings.read_timeout_s + 1)
        self._streams = EventStreams(
            self.tables,
            self._peers,
            Backlog(connection, settings.app_id, self.tables.states_topic),
            settings.event_streams,
        )
        applied = Applied(self.tables, self._peers, connection, settings.read_timeout_s)
        self.app = create_app(
            settings.token_set(), Views(self.tables, self._peers, applied, self._streams), self.tables
        )

    def stop(self) -> None:
        """End what would not end by itself: the event streams."""
        self._streams.close()

    async def close(self) -> None:
        """Close the connections to other workers."""
        await self._peers.close()
