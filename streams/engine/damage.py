"""Damage done to the logs by others while no worker ran: positions and tables that cannot be right. Pure.

Merging an event once more changes nothing, so wherever a position is in doubt, reading resumes from the first existing
record. Unrecoverable records are reported.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from streams.engine.guard import noted
from streams.engine.membership import Committed

At = tuple[str, int]

#: The entry of a note that distinguishes the source's topic from another one of its name; after a log's name the log's.
TOPIC = "@topic"


def numbers(identities: Mapping[str, str]) -> dict[str, int]:
    """Return the ids of topics in the form of notes."""
    return {topic: int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) for topic, text in identities.items()}


def noted_identities(committed: Mapping[At, Committed]) -> dict[str, int]:
    """Return the noted identity of each source's topic, where all positions of it agree."""
    found: dict[str, set[int]] = {}
    for (topic, _), left in committed.items():
        if (identity := noted(left.note).get(TOPIC)) is not None:
            found.setdefault(topic, set()).add(identity)
    return {topic: identities.pop() for topic, identities in found.items() if len(identities) == 1}


@dataclass(frozen=True, slots=True)
class Judged:
    """Where to resume. `lost` counts the records of a source that were deleted before they were read.

    `refused` are the sources whose committed positions are not followed.
    """

    positions: dict[At, int]
    lost: dict[At, int]
    remarks: list[str]
    refused: list[At] = field(default_factory=list)


def judge_positions(
    sources: Collection[At],
    committed: Mapping[At, Committed],
    bounds: Mapping[At, tuple[int, int]],
    *,
    noting: Collection[str],
    damaged: Collection[int],
    identities: Mapping[str, int] = MappingProxyType({}),
) -> Judged:
    """Judge the group's positions.

    `bounds` are the first offset and the end of each source partition, `noting` the sources (topics) with whose
    positions this program always commits a note, `damaged` the partitions whose tables have to be rebuilt. `identities`
    distinguishes a topic from another one that had its name before, as far as known.
    """
    judged = Judged({}, {}, [])
    for at in sources:
        first, end = bounds[at]
        name = "{}[{}]".format(*at)
        left = committed.get(at)
        judged.positions[at] = first
        if left is None:
            continue
        said = len(judged.remarks)
        was, identity = noted(left.note).get(TOPIC), identities.get(at[0])
        if was is not None and identity is not None and was != identity:
            # Trap: it may have grown beyond the position by now, and the records before that would never be read.
            judged.remarks.append(
                f"{name}: the topic was deleted and created again. What it had that was not read is gone, and missing "
                "in the tables until it is sent again; reading begins with its first record"
            )
        elif left.offset < first:
            judged.lost[at] = first - left.offset
            judged.remarks.append(
                f"{name}: {first - left.offset} records were deleted before they were read, up to offset "
                f"{first}: their changes are missing in the tables until they are sent again. Raise the topic's "
                "retention"
            )
        elif left.offset > end:
            judged.remarks.append(
                f"{name}: the group's position is {left.offset}, the topic ends at {end}: it was created again, or "
                "another program committed; reading begins with its first record"
            )
        elif at[0] in noting and not noted(left.note):
            judged.remarks.append(
                f"{name}: another program committed position {left.offset} in this group, which is not "
                "followed; reading begins with the first record. Give other programs a group of their own"
            )
        elif at[1] not in damaged:
            judged.positions[at] = left.offset
        if len(judged.remarks) > said and at not in judged.lost:
            judged.refused.append(at)
    return judged


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a changelog partition cannot be trusted. `lost`: it had records that are gone.

    `rebuild`: the store may be incomplete as well, so the sources are read again; else it is only written back.
    """

    problem: str
    lost: bool
    rebuild: bool = True


def judge_changelog(
    name: str,
    position: int,
    verified: int | None,
    first: int,
    end: int,
    *,
    holds: bool = False,
    known_first: int = 0,
    replaced: bool = False,
) -> Damage | None:
    """Return what is wrong with a changelog partition, None if it is complete.

    `position` is how far the store has read it, `verified` the last owner's note of it: 0 while its table is rebuilt,
    and by a first owner until it has noted more. `holds` says whether the store has any entry, `known_first` is the
    first offset that the last owner noted: up to it the changelog was emptied before, and is complete again. `replaced`
    says whether its topic is another one than the last owner's.
    """
    if replaced:
        # Trap: it may have grown beyond both offsets by now.
        return Damage(f"{name} is not the topic that its last owner wrote: it was created again", lost=True)
    if position > end or (verified is not None and verified > end):
        known = max(position, verified or 0)
        return Damage(f"{name} ends at {end}, but had {known} records: it was created again", lost=True)
    if first > known_first and position < first:
        problem = f"{name} begins at {first}, but only {position} records of it are in the store: it was emptied"
        return Damage(problem, lost=True)
    # Trap: a store with all of an incomplete changelog may have more than it; the next owner would lack that.
    if verified == 0 and (end > 0 or holds):
        return Damage(f"{name}: its last owner ended before it had noted that its table was complete", lost=False)
    if first > known_first and holds:
        return Damage(f"{name} begins at {first}: it was emptied, the store has all of it", lost=True, rebuild=False)
    return None


def judge_derived(
    name: str, verified: int | None, first: int, end: int, *, known_first: int = 0, replaced: bool = False
) -> Damage | None:
    """Return why a log that is derived from a table lacks records of it, None if it is complete.

    Everything as for a changelog. The table is complete by now, and nothing is read again.
    """
    if replaced or (verified is not None and verified > end):
        return Damage(f"{name} was created again", lost=True, rebuild=False)
    if first > known_first:
        return Damage(f"{name} begins at {first}: it was emptied", lost=True, rebuild=False)
    if verified == 0:
        problem = f"{name}: its last owner ended before it had noted that it was complete"
        return Damage(problem, lost=False, rebuild=False)
    return None
