"""Lists of conversations: the pages of all workers, merged into one."""

import asyncio
import hashlib
import heapq
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from msgspec import DecodeError, ValidationError, msgpack

from streams.views.cluster.peers import Peers
from streams.views.http.access import Reader
from streams.views.http.problems import not_ready, relayed
from streams.views.http.queries import cursor_of
from streams.views.read import render
from streams.views.read.index import Filter, Position
from streams.views.read.partition import PartitionView
from streams.views.read.tables import Tables


class Item(NamedTuple):
    """A conversation of a page: where it stands, its JSON and its entity tag."""

    position: Position
    body: bytes
    tag: str


class Page(NamedTuple):
    """A page as it is answered."""

    body: bytes
    tag: str


#: Conversations that are brought into use before others get their turn.
_SLICE = 20

encode_items = msgpack.Encoder().encode
_decode_items = msgpack.Decoder(list[Item]).decode


class Lists:
    """Answers for all partitions, or for those of this worker."""

    def __init__(self, tables: Tables, peers: Peers) -> None:
        """Ask others by `peers`."""
        self._tables = tables
        self._peers = peers

    async def page(  # noqa: PLR0917 what is asked for, and by whom
        self,
        wanted: Filter,
        below: Position | None,
        limit: int,
        reader: Reader,
        target: bytes,
        headers: Mapping[bytes, bytes],
    ) -> Page:
        """Return one page of everything. Raises ProblemError, so that no page is ever of some partitions only."""
        own = self._tables.worker.settings.url
        owners = self._tables.owners()
        others = [(url, partitions) for url, partitions in owners.items() if url != own]
        answers = await asyncio.gather(*(self._ask(*other, reader, target, headers) for other in others))
        found = [*answers, await self.own_items(owners.get(own, set()), wanted, below, limit + 1)]
        items = list(islice(heapq.merge(*found, key=lambda item: item.position, reverse=True), limit + 1))
        more = cursor_of(items[limit - 1].position) if len(items) > limit else None
        del items[limit:]
        tags = "\n".join([*(item.tag for item in items), str(more)])
        body = render.page("conversations", [item.body for item in items], more)
        return Page(body, hashlib.sha256(tags.encode()).hexdigest()[:32])

    async def own_items(
        self, partitions: Iterable[int], wanted: Filter, below: Position | None, most: int
    ) -> list[Item]:
        """Return the first conversations of these partitions, which must be this worker's. Raises ProblemError."""
        views = self._own_views(partitions)
        found = _first(views, wanted, below, most)
        unprepared = [(view, key) for (_, key), view in found if not view.prepared(key)]
        for count, (view, key) in enumerate(unprepared, 1):
            await view.prepare(key)
            if count % _SLICE == 0:
                await asyncio.sleep(0)
        if unprepared:
            found = _first(views, wanted, below, most)
        items = []
        for position, view in found:
            rendered = view.conversation(position[1])
            if rendered is None:
                raise AssertionError(f"{position[1]!r} is indexed, but not there")
            items.append(Item(position, rendered.body, rendered.tag))
        return items

    def _own_views(self, partitions: Iterable[int]) -> list[PartitionView]:
        views = []
        for partition in partitions:
            view = self._tables.view(partition, indexed=True)
            if view is None:
                raise not_ready("the partition is another worker's", {partition})
            views.append(view)
        return views

    async def _ask(
        self, url: str, partitions: set[int], reader: Reader, target: bytes, headers: Mapping[bytes, bytes]
    ) -> list[Item]:
        answer = await self._peers.ask(url, target, reader, partitions, headers)
        if not answer.is_success:
            raise relayed(answer.content, partitions)
        try:
            return _decode_items(answer.content)
        except (DecodeError, ValidationError):
            raise not_ready("the partition's worker gave an answer that is none", partitions) from None


def _first(
    views: Iterable[PartitionView], wanted: Filter, below: Position | None, most: int
) -> list[tuple[Position, PartitionView]]:
    pages = [[(position, view) for position in view.page(wanted, below, most)] for view in views]
    return list(islice(heapq.merge(*pages, key=lambda entry: entry[0], reverse=True), most))
