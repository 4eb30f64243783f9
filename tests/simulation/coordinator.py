"""A simulated group coordinator and its members: generations, commits with notes, sessions that run out.

As with Kafka's classic protocol: a rebalance waits for all members, each of which gives its partitions up before it
joins again; a member that is silent for longer than its session is put out, and hears of it when it speaks next. Who
comes under the name of a member takes its place at once, without a rebalance, and that one is put out.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from simulation.log import Network
from simulation.program import Committed, LeaseLostError, MembershipError

At = tuple[str, int]

#: How long committed positions may take to come before the engine gives up.
_SILENCE_S = 15.0
_REBALANCE_S = 60.0

_STABLE, _PREPARING = "stable", "preparing"


class Owner(Protocol):
    """What hears of partitions: the engine."""

    def on_owned(self, partitions: frozenset[int], generation: int, standbys: frozenset[int]) -> None:
        """Hear what is owned, and of what copies are to be kept."""

    def on_lost(self) -> Awaitable[None]:
        """Give everything up; when this returns others may own it."""

    def fail(self, error: BaseException) -> None:
        """Hear of what only the end of the process can answer."""


@dataclass
class _Known:
    """A member, as the coordinator knows it."""

    url: str
    seen_at: float
    name: str | None = None
    #: Told of the generation once all have joined; None: it has not joined yet.
    joining: "asyncio.Future[tuple[int, frozenset[int]]] | None" = None
    owned: frozenset[int] = field(default_factory=frozenset)
    standbys: frozenset[int] = field(default_factory=frozenset)


class Group:
    """The coordinator of one group."""

    def __init__(self, network: Network, sources: Iterable[str], partitions: int, session_s: float) -> None:
        self.network = network
        self.sources = tuple(sources)
        self.partitions = partitions
        self.session_s = session_s
        self.generation = 0
        self.committed: dict[At, Committed] = {}
        #: Nobody answers until then.
        self.away_until = 0.0
        #: Each partition has a standby copy at a member that does not own it.
        self.with_standbys = False
        self._committed_in: dict[At, tuple[int, int]] = {}
        #: How often a commit was refused.
        self.refused = 0
        #: Called with each position: where, the one before, the new one, and the notes of the commit.
        self.on_commit: Callable[[At, int, int, Mapping[At, str]], None] = lambda *_: None
        self._state = _STABLE
        self._deadline = 0.0
        self._members: dict[int, _Known] = {}
        self._next_id = 0
        self._watching = False

    @property
    def owners(self) -> dict[int, str]:
        """The address of the member that owns each partition."""
        return {number: known.url for known in self._members.values() for number in known.owned}

    def join(
        self, member_id: int | None, url: str, name: str | None = None
    ) -> tuple[int, "asyncio.Future[tuple[int, frozenset[int]]]"]:
        """Take a member in, or again; the future has its generation and partitions."""
        loop = self.network.loop
        returns = False
        if member_id not in self._members:
            self._next_id += 1
            former = [number for number, known in self._members.items() if name is not None and known.name == name]
            member_id = self._next_id
            self._members[member_id] = _Known(url, loop.now, name)
            for number in former:
                replaced = self._members.pop(number)
                self._members[member_id].owned, self._members[member_id].standbys = replaced.owned, replaced.standbys
                returns = self._state == _STABLE
        known = self._members[member_id]
        known.joining = joining = loop.create_future()
        if returns:
            joining.set_result((self.generation, known.owned))
            known.joining = None
        else:
            self._prepare()
        self._watch()
        return member_id, joining

    def leave(self, member_id: int) -> None:
        """Let a member go."""
        if self._members.pop(member_id, None) is not None:
            self._prepare()

    def heartbeat(self, member_id: int, generation: int) -> str | None:
        """Note a sign of life; return why the member has to do something, None if it has not."""
        known = self._members.get(member_id)
        if known is None:
            return "UnknownMemberIdError"
        known.seen_at = self.network.loop.now
        if generation != self.generation:
            return "IllegalGenerationError"
        return "RebalanceInProgressError" if self._state == _PREPARING else None

    def commit(
        self, member_id: int, generation: int, positions: Mapping[At, int], notes: Mapping[At, str]
    ) -> str | None:
        """Commit as a member of a generation; return why that is refused, None if it is not."""
        problem = None
        if member_id not in self._members:
            problem = "UnknownMemberIdError"
        elif generation != self.generation:
            problem = "IllegalGenerationError"
        if problem is not None:
            self.refused += 1
            return problem
        self._members[member_id].seen_at = self.network.loop.now
        for at, offset in positions.items():
            before = self.committed.get(at)
            # A takeover may begin again from the start, if it does not trust what it finds.
            known = before is not None and self._committed_in.get(at) == (generation, member_id)
            self.on_commit(at, before.offset if before is not None and known else 0, offset, notes)
            self._committed_in[at] = generation, member_id
            self.committed[at] = Committed(offset, notes.get(at, ""))
        return None

    def _prepare(self) -> None:
        loop = self.network.loop
        if self._state == _STABLE:
            self._state = _PREPARING
            self._deadline = loop.now + _REBALANCE_S
        self._complete_soon()

    def _complete_soon(self) -> None:
        self.network.loop.outside(self.network.delay(), self._complete)

    def _complete(self) -> None:
        if self._state != _PREPARING or any(known.joining is None for known in self._members.values()):
            return
        loop = self.network.loop
        self._state = _STABLE
        self.generation += 1
        for known, numbers in zip(self._members.values(), self._divided(), strict=True):
            known.owned = frozenset(numbers)
            known.standbys = frozenset()
        if self.with_standbys:
            self._give_standbys()
        for known in self._members.values():
            known.seen_at = loop.now
            joining, known.joining = known.joining, None
            if joining is not None and not joining.done():
                joining.set_result((self.generation, known.owned))

    def _give_standbys(self) -> None:
        for number in range(self.partitions):
            others = [known for known in self._members.values() if number not in known.owned]
            if others:
                chosen = self.network.random.choice(others)
                chosen.standbys |= {number}

    def standbys_of(self, member_id: int | None) -> frozenset[int]:
        """Return the partitions of which a member keeps copies."""
        known = self._members.get(member_id) if member_id is not None else None
        return frozenset() if known is None else known.standbys

    def _divided(self) -> list[list[int]]:
        random = self.network.random
        shares: list[list[int]] = [[] for _ in self._members]
        if not shares:
            return []
        numbers = list(range(self.partitions))
        if random.random() < 0.5:
            random.shuffle(numbers)
        copies = {number: at for at, known in enumerate(self._members.values()) for number in known.standbys}
        promoted = {number for number in copies if random.random() < 0.7}
        for place, number in enumerate(number for number in numbers if number not in promoted):
            shares[place % len(shares)].append(number)
        random.shuffle(shares)
        for number in sorted(promoted):
            shares[copies[number]].append(number)
        return shares

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self.network.loop.outside(self.session_s / 10, self._look)

    def _look(self) -> None:
        now = self.network.loop.now
        gone = [
            member_id
            for member_id, known in self._members.items()
            if (known.joining is None and now - known.seen_at > self.session_s)
            or (self._state == _PREPARING and now > self._deadline and known.joining is None)
        ]
        for member_id in gone:
            del self._members[member_id]
        if gone:
            self._prepare()
        self._watching = bool(self._members)
        if self._watching:
            self.network.loop.outside(self.session_s / 10, self._look)


class Member:
    """A worker's part of the group: streams.engine's Membership, without Faust and aiokafka."""

    def __init__(self, group: Group, url: str, name: str | None = None) -> None:
        self._name = name
        self._group = group
        self._network = group.network
        self._url = url
        self._id: int | None = None
        self._generation = -1
        self._owned: frozenset[int] = frozenset()
        self._owner: Owner | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._losing = False
        self._asked: deque[tuple[asyncio.Future[Any], Callable[..., Any], Any]] = deque()

    def start(self, owner: Owner) -> None:
        """Join, and tell the owner what it owns."""
        self._owner = owner
        self._running = asyncio.create_task(self._run(owner))

    async def stop(self) -> None:
        """Give everything up, and leave."""
        self._stopping.set()
        if self._running is not None:
            await asyncio.wait([self._running])
        if self._owner is not None and not self._losing:
            await self._owner.on_lost()
        if self._id is not None:
            await self._ask(self._group.leave, self._id)

    async def commit_positions(
        self, positions: Mapping[At, int], notes: Mapping[At, str], within_s: float
    ) -> str | None:
        """Commit as this member; return why not. What was not done in time may still be done later."""
        if self._id is None:
            return "not a member"
        if any(number not in self._owned for _, number in positions):
            return "IllegalStateError: not assigned"
        return await self._told(within_s, self._group.commit, self._id, self._generation, dict(positions), dict(notes))

    async def ask_coordinator(self, within_s: float) -> str | None:
        """Return None when the coordinator has answered, else why not."""
        return await self._told(within_s, lambda: None)

    async def _told(self, within_s: float, function: Callable[..., str | None], *args: Any) -> str | None:
        try:
            async with asyncio.timeout(within_s):
                return await self._ask(function, *args)
        except TimeoutError:
            return f"the coordinator has not answered within {within_s:.1f} s"

    async def committed(self, partitions: Iterable[At]) -> dict[At, Committed]:
        """Return where partitions were left, only of those that ever were. Raises MembershipError."""
        asked = list(partitions)
        known = self._group.committed
        try:
            async with asyncio.timeout(_SILENCE_S):
                return await self._ask(lambda: {at: known[at] for at in asked if at in known})
        except TimeoutError:
            raise MembershipError("the group's positions cannot be read") from None

    async def check(self) -> None:
        """There is no Faust that could have given up."""

    def owners(self, topic: str) -> dict[int, str]:
        """Return the address of the worker that owns each partition."""
        del topic
        return self._group.owners

    async def _run(self, owner: Owner) -> None:
        while not self._stopping.is_set():
            self._id, joining = await self._ask(self._group.join, self._id, self._url, self._name)
            self._generation, partitions = await self._answered(joining)
            self._owned = partitions
            telling = asyncio.create_task(self._tell(owner, partitions))
            self._losing = False
            problem = await self._heartbeats()
            telling.cancel()
            if problem is None:
                return
            if problem == "UnknownMemberIdError":
                owner.fail(
                    LeaseLostError(
                        "fenced: the group has removed this worker, and other workers own its partitions by now"
                    )
                )
                return
            beating = asyncio.create_task(self._beat_on())
            await owner.on_lost()
            beating.cancel()
            self._losing = True

    async def _tell(self, owner: Owner, partitions: frozenset[int]) -> None:
        # Faust comes to the end of a rebalance some time after it has been told of the partitions.
        await asyncio.sleep(self._network.delay())
        owner.on_owned(partitions, self._generation, self._group.standbys_of(self._id))

    async def _heartbeats(self) -> str | None:
        """Give signs of life until the group wants something else; return what, None for a stop."""
        while not self._stopping.is_set():
            await self._pause()
            problem = await self._ask(self._group.heartbeat, self._id, self._generation)
            if problem is not None:
                return problem
        return None

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self._group.session_s / 5)
            await self._ask(self._group.heartbeat, self._id, self._generation)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._group.session_s / 5):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have something done by the coordinator, which takes its time; the request stays on its way when cancelled."""
        answer: asyncio.Future[Any] = self._network.loop.create_future()
        # One connection: what was asked first is done first.
        self._asked.append((answer, function, args))
        self._network.loop.outside(self._network.delay(), self._arrive)
        return await answer

    def _arrive(self) -> None:
        network, away_until = self._network, self._group.away_until
        if away_until > network.loop.now:
            network.loop.outside(away_until - network.loop.now, self._arrive)
            return
        answer, function, args = self._asked.popleft()
        network.loop.outside(network.delay(), _settle, answer, function(*args))

    async def _answered(self, answer: "asyncio.Future[Any]") -> Any:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([answer, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise asyncio.CancelledError
            return answer.result()
        finally:
            stopping.cancel()


def _settle(answer: "asyncio.Future[Any]", result: Any) -> None:
    if not answer.done():
        answer.set_result(result)
