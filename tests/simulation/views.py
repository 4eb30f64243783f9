"""Reads at the views of all workers while a history runs, and what must be true of the answers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from simulation.log import partition_of
from simulation.loop import Process, SimulatedLoop
from simulation.plan import SESSION_S, Arrival, Plan, is_usable
from simulation.program import Program, render
from support.reference import fold

#: How often a history is read without a reason, and how many rows then.
_MOMENTS = 8
_ROWS = 3

Row = tuple[str, str]
Worker = tuple[Process, Program]


class Reads:
    """Asks every worker for the same rows at one moment; `wrong` is told what may not be.

    `workers` returns those that run now, `committed` the committed position of a partition of the messages.
    """

    def __init__(
        self,
        plan: Plan,
        loop: SimulatedLoop,
        wrong: list[str],
        workers: Callable[[], Iterable[Worker]],
        committed: Callable[[int], int],
    ) -> None:
        self.answers = self.judged = 0
        self._loop, self._wrong, self._workers, self._committed = loop, wrong, workers, committed
        self._random = Random(f"reads {plan.seed}")
        named = {(one.entity, one.key) for one in plan.arrivals if is_usable(one) and one.entity in _RENDERED}
        self._rows = sorted(named)
        self._partitions, self._forgotten = plan.partitions, plan.forgotten
        self._until = plan.end_s + SESSION_S
        #: Which worker has begun with a partition last.
        self._begun: dict[int, Process] = {}
        self._exact = bool(self._rows) and _follow_from_their_own_events(plan)
        self._came: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        #: The offset of the last event that some answer has had, by message.
        self._told: dict[str, int] = {}

    def start(self) -> None:
        """Read at moments that the seed chooses."""
        for _ in range(_MOMENTS):
            self._loop.outside(self._random.random() * self._until, self.look)

    def came(self, arrival: Arrival, offset: int) -> None:
        """Hear that an event has come."""
        if arrival.entity == "messages" and self._exact and is_usable(arrival):
            self._came[arrival.key].append((offset, arrival.event))

    def attach(self, process: Process, program: Program) -> None:
        """Read from a worker, and whenever something has happened that stale answers come from.

        That is when it goes on after a pause, before it notices, and when it has begun.
        """

        def began(partitions: Iterable[int]) -> None:
            self._begun.update(dict.fromkeys(partitions, process))
            self._loop.outside(0.0, self.look)

        program.on_began(began)
        process.resumed.append(self.look)

    def look(self) -> None:
        """Ask every worker for some rows, between any two of their steps."""
        for row in self._random.sample(self._rows, min(_ROWS, len(self._rows))):
            answers = list(self._ask(row))
            self._judge_owners(row, answers)
            for process, _, _, answer in answers:
                self.answers += 1
                if row[0] == "messages" and self._exact:
                    self._judge_age(row[1], process, answer)

    def final(self, *wanted: dict[str, Any]) -> list[str]:
        """Return a line for each row that is not answered by exactly one worker, with its state."""
        lines = []
        states = dict(zip(_RENDERED, wanted, strict=True))
        for row in self._rows:
            if row in self._forgotten:
                continue
            entity, key = row
            state = states[entity].get(key)
            answers = list(self._ask(row))
            self._judge_owners(row, answers)
            if len(answers) != 1:
                lines.append(f"{entity} {key}: {len(answers)} workers answer")
            elif answers[0][3] != (None if state is None else _RENDERED[entity](state)):
                lines.append(f"{entity} {key}: {answers[0][0].name} answers {answers[0][3]!r} instead of {state}")
        return lines

    def _ask(self, row: Row) -> Iterator[tuple[Process, Program, int, bytes | None]]:
        for process, program in self._workers():
            try:
                found = process.run(program.read, *row)
            except Exception as error:  # noqa: BLE001 it is judged
                self._fault(f"{process.name} cannot answer for {row}: {error!r}")
                continue
            if found is not None:
                yield process, program, *found

    def _judge_owners(self, row: Row, answers: list[tuple[Process, Program, int, bytes | None]]) -> None:
        if len(answers) > 1:
            self._fault(f"{row} is answered by {[one[0].name for one in answers]} at once")
        for process, program, partition, _ in answers:
            if self._begun.get(partition) is not process:
                self._fault(f"{process.name} answers for {row} after another worker has begun with {partition}")
            if not program.has(partition):
                self._fault(f"{process.name} answers for {row} and has lost {partition}")

    def _judge_age(self, key: str, process: Process, answer: bytes | None) -> None:
        """Compare an answer with the fold of the events up to each one: none may lack what is known to be there.

        Those are the committed ones, and those that an answer has had.
        """
        self.judged += 1
        came = self._came[key]
        committed = max(
            (offset for offset, _ in came if offset < self._committed(partition_of(key.encode(), self._partitions))),
            default=-1,
        )
        least = max(committed, self._told.get(key, -1))
        events = [event for _, event in came]
        for count in range(len(came) + 1):
            last = came[count - 1][0] if count else -1
            state = fold(events[:count])[0].get(key)
            if last >= least and answer == (None if state is None else _RENDERED["messages"](state)):
                self._told[key] = last
                return
        self._fault(f"{process.name} answers {answer!r} for {key}, and not with {least} of {came}")

    def _fault(self, line: str) -> None:
        self._wrong.append(f"at {self._loop.now:.3f}: {line}")


_RENDERED: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "messages": render.message,
    "conversations": render.conversation,
}


def _follow_from_their_own_events(plan: Plan) -> bool:
    """Return whether messages are what their own events say, in whatever happens to all other rows."""
    external = [event["data"].get("external_id") for event in plan.events if event["entity"] == "messages"]
    return not (
        plan.removed
        or plan.idle
        or any(external)
        or any(event["action"] == "delete" or "commit" in event for event in plan.events)
    )
