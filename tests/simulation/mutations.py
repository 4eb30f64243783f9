"""Faults that are put into the program on purpose: the histories must find each of them.

Each breaks one rule of docs/join.md, by replacing one thing that a worker does.
"""

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from simulation import coordinator, program

MUTATIONS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {}
#: The aim of the histories that find a fault; of others hardly any does.
AIMED: dict[str, str] = {}


def mutation(rule: str, *, aim: str | None = None) -> Callable[[Any], Any]:
    """Register a fault by the rule that it breaks. `aim`: that of the histories that find it, if others hardly do."""

    def keep(function: Any) -> Any:
        MUTATIONS[rule] = function
        if aim is not None:
            AIMED[rule] = aim
        return function

    return keep


_encoded = program.messages.message.encode


def instead(owner: Any, name: str) -> Callable[[Any], Any]:
    """Return a decorator that makes a mutation of a function, which is called with the original one first.

    Raises TypeError or AttributeError if it is not called like that any more: each history would find that.
    """
    original = getattr(owner, name)
    parameters = inspect.signature(original).parameters.values()
    by_name = {one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY}
    by_place = [one for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]

    def make(function: Any) -> Any:
        for given in (by_place, [one for one in by_place if one.default is one.empty]):
            inspect.signature(function).bind(original, *given, **by_name)

        @contextlib.contextmanager
        def mutated() -> Iterator[None]:
            def replaced(*args: Any, **named: Any) -> Any:
                return function(original, *args, **named)

            with patch.object(owner, name, replaced):
                yield

        return mutated

    return make


@mutation("a position is committed when all that the input before it caused is acknowledged")
@instead(program.writer.Writer, "poll")
def _commit_early(original: Any, self: Any) -> None:
    for checkpoint in self._closed:
        checkpoint.pending = 0
    original(self)


@mutation("a record without an offset is not written, whatever else its report says")
@instead(program.writer.reports, "is_unwritten")
def _believe_reports(original: Any, message: Any) -> bool:
    del original, message
    return False


@mutation("foreign records are read to the end that was asked for, whatever end a broker tells", aim="notes")
@instead(program.source.Batch, "reaches")
def _read_to_any_end(original: Any, self: Any, offset: int) -> bool:
    return bool(self.ends) or original(self, offset)


@mutation("contributions written, facts not: what is said again counts once")
@instead(program.tallies.Tally, "replace")
def _count_again(  # noqa: PLR0917 what it replaces
    original: Any, self: Any, conversation_id: str, message_id: str, old: Any, new: Any
) -> None:
    original(self, conversation_id, message_id, None if old == new else old, new)


@mutation("facts written, status changes not: what may have been merged before is announced again")
@instead(program.table.TablePartition, "seen")
def _announce_once(original: Any, self: Any, event: Any) -> bool:
    del original, self, event
    return False


@mutation("a contribution merged, its status changes not: it tells what it announces when it is read again")
@instead(program.conversations.ConversationPartition, "apply_contribution")
def _tell_once(original: Any, self: Any, conversation_id: str, record: Any) -> None:
    known, said = self.contribution(conversation_id, record.message_id), record.contribution
    if known is not None and said is not None and program.contributions.join(known, said) == known:
        record.announce = []
    original(self, conversation_id, record)


@mutation("a contribution merged, its status changes not: it is told even if the message has moved on")
@instead(program.conversations.ConversationPartition, "_publish_changes")
def _tell_where_it_is(original: Any, self: Any, announced: Any) -> None:
    def is_here(conversation_id: str, message_id: str) -> bool:
        known = self.contribution(conversation_id, message_id)
        return known is None or program.contributions.belongs_to(known, conversation_id)

    original(self, [one for one in announced if is_here(*one[0])])


@mutation("tables written, states not: the states of replayed messages are written again", aim="disks")
@instead(program.messages.MessagePartition, "flushing")
def _write_what_is_new(original: Any, self: Any) -> Any:
    known = {key.encode() for key, facts in self._changed.items() if self.rows.get(key.encode()) == _encoded(facts)}
    sender = self._sender

    def write(topic: str, key: bytes, *rest: Any) -> None:
        if topic != self._states or key not in known:
            sender.write(topic, key, *rest)

    self._sender = SimpleNamespace(write=write)
    yield from original(self)
    self._sender = sender


@mutation("tables written, states not: the states of replayed conversations are written again", aim="disks")
@instead(program.conversations.ConversationPartition, "apply_contribution")
def _write_what_has_changed(original: Any, self: Any, conversation_id: str, record: Any) -> None:
    known = self.contribution(conversation_id, record.message_id)
    changed = conversation_id in self._changed
    original(self, conversation_id, record)
    if not changed and known is not None and known == self.contribution(conversation_id, record.message_id):
        self._changed.discard(conversation_id)


@mutation("in the middle of a removal: the facts, the only list of whom to tell, go last", aim="removals")
@instead(program.messages.MessagePartition, "retract")
def _forget_first(original: Any, self: Any, message_id: str) -> Any:
    yield from original(self, message_id)
    self.remove(message_id)


@mutation("in the middle of removing a conversation: its facts go when the tombstones are acknowledged", aim="removals")
@instead(program.conversations.ConversationPartition, "retract")
def _delete_first(original: Any, self: Any, conversation_id: str) -> Any:
    yield from original(self, conversation_id)
    for key, _ in self.rows.scan(program.conversations.prefix(conversation_id.encode())):
        self.rows.store.delete(key)


@mutation("everything written, the position not committed: status changes keep their ids")
@instead(program.conversations, "status_changes")
def _new_ids(original: Any, *args: Any) -> Any:
    return [fields | {"id": str(uuid4())} for fields in original(*args)]


@mutation("while it restores: the position is that of what is in the store")
@instead(program.restoring.Changelog, "apply")
def _save_before(original: Any, self: Any, record: Any) -> None:
    self.store.save_position(record.offset + 2)
    original(self, record)


@mutation("with RocksDB: the saved position is not beyond what is acknowledged", aim="disks")
@instead(program.engine.Engine, "_save_positions")
def _save_too_much(original: Any, self: Any) -> None:
    original(self)
    for owned in self._tables.values():
        for rows in owned.rows.values():
            end = self._guard.end(rows.changelog, rows.number) or 0
            # A position beyond the end of a log in which only the first mark is would be seen by the next owner.
            rows.store.save_position(end + 3 if end > 1 else end)


@mutation("in order comes the mark of a table, then the facts that it covers", aim="disks")
@instead(program.messages.MessagePartition, "flushing")
def _mark_last(original: Any, self: Any) -> Any:
    changed, mark = bool(self._changed), self.rows.mark
    self.rows.mark = lambda: None
    yield from original(self)
    self.rows.mark = mark
    if changed:
        mark()


@mutation("of a worker the marks come first, and are waited for")
@instead(program.engine.Engine, "_mark_first")
async def _values_with_the_marks(original: Any, self: Any, work: Any) -> None:
    del original, work
    self._write_marks()


@mutation("foreign records are written again by the owner", aim="notes")
@instead(program.repair.Repair, "_repair")
async def _no_repair(original: Any, self: Any, work: Any) -> None:
    del original, self, work


@mutation("the note for a successor does not go past foreign records before they are repaired", aim="notes")
@instead(program.guard.Guard, "verified")
def _note_all(original: Any, self: Any) -> Any:
    del original
    return dict(self._ends)


@mutation("what follows the verified end is joined with what is known", aim="notes")
@instead(program.restoring.Changelog, "apply")
def _last_wins(original: Any, self: Any, record: Any) -> None:
    original(program.restoring.Changelog(self.store, 1 << 62, self.join), record)


@mutation("a standby copy follows no further than its owner has verified", aim="standbys")
@instead(program.standby, "reach")
def _follow_all(original: Any, position: int, noted: int | None, first: int, end: int, *rest: int) -> int | None:
    del noted
    return original(position, end, first, end, *rest)  # type: ignore[no-any-return] # as it returns


@mutation("what is left of an emptied changelog is not all of it: a copy waits for its owner's word", aim="emptied")
@instead(program.standby, "reach")
def _follow_what_is_left(  # noqa: PLR0917 what it replaces
    original: Any, position: int, noted: int | None, first: int, end: int, known_first: int
) -> int | None:
    del known_first
    return original(position, noted, first, end, first)  # type: ignore[no-any-return] # as it returns


@mutation("of an emptied changelog a store lacks what it had not read: the sources are read again", aim="emptied")
@instead(program.takeover, "judge_changelog")
def _trust_what_is_left(
    original: Any, name: str, position: int, verified: Any, first: int, *end: int, **told: Any
) -> Any:
    return original(name, position, verified, first, *end, **told | {"known_first": first})


@mutation("a changelog that is emptied while it is read ends who takes it over", aim="emptied")
@instead(program.takeover, "reader")
def _read_what_is_left(original: Any, *args: Any, **named: Any) -> Any:
    return original(*args, **named | {"missing": "earliest"})


@mutation("a store whose table is built again lacks what it lacked until that is noted", aim="emptied")
@instead(program.restoring.Changelog, "rebuild")
def _whole_at_once(original: Any, self: Any, first: int) -> None:
    original(self, first)
    self.store.save_position(first)
    self._apart = None


@mutation("a worker that the group has put out ends")
@instead(program.Program, "fail")
def _stay(original: Any, self: Any, error: BaseException) -> None:
    if not isinstance(error, program.LeaseLostError | program.FrozenError):
        original(self, error)


@mutation("a late commit of a former owner is refused")
@instead(coordinator.Group, "commit")
def _any_generation(  # noqa: PLR0917 what it replaces
    original: Any, self: Any, member_id: int, generation: int, positions: Any, notes: Any
) -> Any:
    del generation
    known = member_id if member_id in self._members else next(iter(self._members), -1)
    return original(self, known, self.generation, positions, notes)


@mutation("a message whose rival is newer does not exist")
@instead(program.messages.MessagePartition, "apply_verdict")
def _no_verdict(original: Any, self: Any, message_id: str, record: Any) -> None:
    del original, self, message_id, record


@mutation("a deleted message has its external id no more")
@instead(program.messages.existence, "holder")
def _keep_external_ids(original: Any, *facts: Any) -> Any:
    return original(*facts)._replace(deleted=False)


@mutation("a deleted conversation tells all messages that it ever had")
@instead(program.conversations.ConversationPartition, "tell_messages")
def _tell_nobody(original: Any, self: Any, conversation_id: str) -> Iterator[None]:
    del original, self, conversation_id
    return iter(())


@mutation("an idle conversation is removed when its owner meets the request")
@instead(program.conversations.ConversationPartition, "is_idle")
def _never_idle(original: Any, self: Any, conversation_id: str, before: int) -> Generator[None, None, bool]:
    del original, self, conversation_id, before
    yield from ()
    return False


@mutation("a conversation follows the addresses that it may have")
@instead(program.conversations.ConversationPartition, "_follow_addresses")
def _follow_nobody(original: Any, self: Any, conversation_id: str, before: Any, now: Any) -> None:
    del original, self, conversation_id, before, now


@mutation("an address tells its conversations what it hears of its contact")
@instead(program.contacts.AddressPartition, "apply_contact")
def _hear_nothing(original: Any, self: Any, key: str, link: Any, offset: int) -> None:
    del original, self, key, link, offset


@mutation("what an address knows of a contact is told to it again when it says once more that it is of that contact")
@instead(program.contacts.ContactPartition, "follow")
def _follow_silently(original: Any, self: Any, key: str, link: Any) -> None:
    with patch.object(self, "_write", lambda *_: None):
        original(self, key, link)


@mutation("a late word that nothing is known is no answer: whoever loses something by it asks")
def _believe_all() -> contextlib.AbstractContextManager[Any]:
    return patch.object(program.links.Questions, "close", lambda _, __, link: link.facts is None)


@mutation("a removed contact is told to its addresses")
@instead(program.contacts.ContactPartition, "forget")
def _remember(original: Any, self: Any, key: str) -> None:
    del original, self, key


@mutation("an event that has ended workers is set aside")
@instead(program.poison.Suspects, "is_poison")
def _never_poison(original: Any, self: Any, record: Any) -> bool:
    del original, self, record
    return False


@mutation("an event is set aside only for the ends of workers that had nothing else in work")
@instead(program.poison, "range_of")
def _blame_the_first(original: Any, note: Any, position: int) -> Any:
    found = original(note, position)
    return None if found is None else program.poison.Range(found.start, found.end, program.poison.DEATHS)


@mutation("what cannot be used becomes a dead letter")
@instead(program.Intake, "refuse")
def _drop(original: Any, self: Any, event: Any, refused: Any) -> None:
    del original, self, event, refused


@mutation("of two rows of a message the one with more status keys is newer")
@instead(program.statuses, "count_of")
def _by_instants_alone(original: Any, event: Any) -> int:
    del original, event
    return 0


@mutation("a scheduled message is not said")
@instead(program.contributions, "is_scheduled")
def _sent_at_once(original: Any, *args: Any) -> bool:
    del original, args
    return False


@mutation("a reaction is not said")
def _a_message_like_any() -> contextlib.AbstractContextManager[Any]:
    return patch.object(program.contributions, "REACTION", None)


@mutation("a conversation is archived until something is said again")
@instead(program.tallies, "_is_archived")
def _archived_for_good(original: Any, extra: Any, last_said_at: Any) -> bool:
    del last_said_at
    return bool(original(extra, None))


@mutation("a status counts even if its value is no instant")
@instead(program.statuses, "registers_of")
def _instants_only(original: Any, event: Any, version: Any) -> Any:
    return {key: register for key, register in original(event, version).items() if not isinstance(register[2], bytes)}


@mutation("a status without an instant has that of its row")
@instead(program.statuses, "instant_of")
def _no_instant(original: Any, stamp: int) -> None:
    del original, stamp


@mutation("a failure is told again when its errors are told later")
@instead(program.messages.message, "newly_announced")
def _fail_without_a_reason(original: Any, known: Any, merged: Any) -> Any:
    with patch.object(program.statuses, "FAILURES", frozenset()):
        return original(known, merged)


@mutation("nothing is active later than a day after it was received")
@instead(program.contributions, "capped")
def _active_in_days(original: Any, at: Any, received_at: Any) -> Any:
    del original, received_at
    return at


@mutation("a worker that may have been put out answers no reads")
def _answer_beyond_the_lease() -> contextlib.AbstractContextManager[Any]:
    return patch.object(program.engine.Engine, "holds_lease", property(lambda _: True))


@mutation("partitions that were taken away are not answered for")
@instead(program.Tables, "lost")
def _answer_for_ever(original: Any, self: Any) -> None:
    del original, self


@mutation("a new owner answers when it has all that former ones can have told")
def _answer_at_once() -> contextlib.AbstractContextManager[Any]:
    return patch.object(program.views.PartitionView, "caught_up", property(lambda view: not view._closed))
