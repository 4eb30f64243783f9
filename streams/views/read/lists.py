"""Lists of conversations and of messages: the pages of all workers, merged into one."""

import asyncio
import hashlib
import heapq
from collections.abc import Collection, Iterable, Mapping
from http import HTTPStatus
from itertools import islice, repeat
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from msgspec import DecodeError, ValidationError, msgpack

from openbsp.merge.registers import NEVER
from streams.views.access import Reader
from streams.views.cluster.peers import Peers
from streams.views.problems import not_ready, relayed
from streams.views.read import render
from streams.views.read.index import Filter, Position
from streams.views.read.message_index import MessageFilter, order_of, read_key
from streams.views.read.pages import Page
from streams.views.read.paging import Paging
from streams.views.read.partition import PartitionView, tag_of
from streams.views.read.tables import Tables


class Item(NamedTuple):
    """An item of a page: its position, its JSON and its entity tag."""

    position: Position
    body: bytes
    tag: str


class Part(NamedTuple):
    """The first items of some partitions. `reached`: complete down to this position; None: all are here."""

    items: list[Item]
    reached: Position | None = None


#: Items that are read before other tasks run.
_SLICE = 20
#: Messages whose status one page checks at most, on each worker.
_LOOKED_AT = 5_000
_CHUNK = 512

encode_part = msgpack.Encoder().encode
_decode_part = msgpack.Decoder(Part).decode


class Listing(Protocol):
    """What a list contains."""

    #: The name of the answer's member.
    name: str

    def order(self, position: Position) -> Any:
        """Return the sort key of positions."""

    async def first(self, views: Collection[PartitionView], below: Position | None, most: int) -> Part:
        """Return up to `most` of some partitions, newest first."""


class Conversations:
    """A Listing of the conversations that a filter admits."""

    name = "conversations"

    def __init__(self, wanted: Filter) -> None:
        """List those that are wanted."""
        self._wanted = wanted

    def order(self, position: Position) -> Position:
        """See Listing."""
        return position

    async def first(self, views: Collection[PartitionView], below: Position | None, most: int) -> Part:
        """See Listing."""
        found = await self._found(views, below, most)
        unprepared = [(view, key) for (_, key), view in found if not view.prepared(key)]
        for count, (view, key) in enumerate(unprepared, 1):
            await view.prepare(key)
            if count % _SLICE == 0:
                await asyncio.sleep(0)
        if unprepared:
            found = await self._found(views, below, most)
        items = []
        for position, view in found:
            rendered = view.conversation(position[1])
            if rendered is None:
                raise AssertionError(f"{position[1]!r} is in the index, but not in the table")
            items.append(Item(position, rendered.body, rendered.tag))
        return Part(items)

    async def _found(
        self, views: Collection[PartitionView], below: Position | None, most: int
    ) -> list[tuple[Position, PartitionView]]:
        for view in views:
            await view.prepare_index()
        # Trap: an id that a producer wrote to another partition than its own is in both, and views have no order.
        placed = (zip(view.descend(self._wanted, below), repeat(view)) for view in views)
        return list(islice(heapq.merge(*placed, key=itemgetter(0), reverse=True), most))


class Orphans(Conversations):
    """A Listing of conversations known from messages only."""

    name = "orphans"

    async def first(self, views: Collection[PartitionView], below: Position | None, most: int) -> Part:
        """See Listing."""
        items = []
        for position, view in await self._found(views, below, most):
            active_at, conversation_id = position
            found = view.facets(conversation_id)
            if found is None:
                raise AssertionError(f"{conversation_id!r} is indexed, but not there")
            at = None if active_at == NEVER else active_at
            body = render.orphan(conversation_id, found[0].organization, at)
            items.append(Item(position, body, tag_of(body)))
        return Part(items)


class Messages:
    """A Listing of the messages that a filter admits.

    Most statuses are not in the index, so messages are checked until there are enough, or until the limit is reached
    and the next page goes on.
    """

    name = "messages"

    def __init__(self, wanted: MessageFilter) -> None:
        """List those that are wanted."""
        self._wanted = wanted

    def order(self, position: Position) -> bytes:
        """See Listing."""
        return order_of(position)

    async def first(self, views: Collection[PartitionView], below: Position | None, most: int) -> Part:
        """See Listing."""
        items: list[Item] = []
        reached = None if below is None else order_of(below)
        looked_at = 0
        size = min(most, _CHUNK)
        while True:
            chunk = await self._keys(views, reached, size)
            for key, view in chunk:
                found = view.listed_message(key, self._wanted)
                looked_at += 1
                if found is not None:
                    position, body = found
                    items.append(Item(position, body, tag_of(body)))
                    if len(items) == most:
                        return Part(items)
                if looked_at % _SLICE == 0:
                    await asyncio.sleep(0)
            if len(chunk) < size:
                return Part(items)
            reached = chunk[-1][0]
            size = min(2 * size, _CHUNK)
            if looked_at >= _LOOKED_AT:
                return Part(items, read_key(reached)[0])

    async def _keys(
        self, views: Iterable[PartitionView], below: bytes | None, most: int
    ) -> list[tuple[bytes, PartitionView]]:
        pages = []
        for view in views:
            await view.prepare_index()
            pages.append([(key, view) for key in view.message_keys(self._wanted, below, most)])
            await asyncio.sleep(0)
        return list(islice(heapq.merge(*pages, key=lambda entry: entry[0], reverse=True), most))


class Lists:
    """Answers for all partitions, or for those of this worker."""

    def __init__(self, tables: Tables, peers: Peers) -> None:
        """Ask other workers through `peers`."""
        self._tables = tables
        self._peers = peers

    async def page(  # noqa: PLR0917 what is asked, and how it was
        self,
        listing: Listing,
        paging: Paging,
        reader: Reader,
        target: bytes,
        headers: Mapping[bytes, bytes],
        until: float,
    ) -> Page:
        """Return one page over all partitions. Raises ProblemError: a page never covers only some.

        Other workers may wait `until` that time for their partitions to become ready.
        """
        own = self._tables.worker.settings.url
        owners = self._tables.owners()
        # Before other workers are asked in vain.
        self._own_views(owners.get(own, set()), asked_by_worker=False)
        others = [(url, partitions) for url, partitions in owners.items() if url != own]
        parts = await asyncio.gather(*(self._ask(*other, reader, target, headers, until) for other in others))
        mine = self._own_views(owners.get(own, set()), asked_by_worker=False)
        parts.append(await self._first(listing, mine, paging))
        items, reached = _merged(listing, parts)
        more = None if reached is None else paging.cursor_of(reached)
        if len(items) > paging.limit:
            more = paging.cursor_of(items[paging.limit - 1].position)
            del items[paging.limit :]
        tags = "\n".join([*(item.tag for item in items), str(more)])
        body = render.page(listing.name, [item.body for item in items], more)
        return Page(body, hashlib.sha256(tags.encode()).hexdigest()[:32])

    async def own(self, listing: Listing, partitions: Iterable[int], paging: Paging) -> Part:
        """Return one more than a page of these partitions, for another worker. Raises ProblemError."""
        return await self._first(listing, self._own_views(partitions, asked_by_worker=True), paging)

    async def _first(self, listing: Listing, views: list[PartitionView], paging: Paging) -> Part:
        part = await listing.first(views, paging.below, paging.limit + 1)
        self._tables.confirm(views)
        return part

    def _own_views(self, partitions: Iterable[int], *, asked_by_worker: bool) -> list[PartitionView]:
        views = []
        for partition in partitions:
            view = self._tables.view(partition, indexed=True)
            if view is None:
                # The worker that takes this one for the owner has to find the owner again.
                raise not_ready("the partition is another worker's", {partition}, passing=not asked_by_worker)
            views.append(view)
        return views

    async def _ask(  # noqa: PLR0917 as above
        self,
        url: str,
        partitions: set[int],
        reader: Reader,
        target: bytes,
        headers: Mapping[bytes, bytes],
        until: float,
    ) -> Part:
        answer = await self._peers.ask(url, target, reader, partitions, headers, until=until)
        if answer.status != HTTPStatus.OK:
            raise relayed(answer.content, partitions)
        try:
            return _decode_part(answer.content)
        except (DecodeError, ValidationError):
            raise not_ready("the partition's worker gave an invalid answer", partitions) from None


def _merged(listing: Listing, parts: Iterable[Part]) -> tuple[list[Item], Position | None]:
    """Return all items down to the position that every part has reached."""

    def order(item: Item) -> Any:
        return listing.order(item.position)

    ends = [part.reached for part in parts if part.reached is not None]
    reached = max(ends, key=listing.order, default=None)
    items = list(heapq.merge(*(part.items for part in parts), key=order, reverse=True))
    if reached is not None:
        least = listing.order(reached)
        items = [item for item in items if order(item) >= least]
    return items, reached
