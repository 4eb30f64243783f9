"""Slices of what is to be done, one kind of work after the other.

A processor that does one thing over and over has its code and data at hand. Events are read, then merged; what follows
from them is made, then encoded, then written: that is worth a sixth of an event's time (docs/decisions/0163).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Most rows have fewer.
USUAL_BYTES = 16 * 1024

#: What is dealt with together: a small part of the time after which others have their turn.
_SLICE = 50


def slices(items: Iterable[T], weigh: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield items in lists; `weigh` says how many usual ones an item is worth: large ones come with fewer others."""
    some: list[T] = []
    weight = 0
    for item in items:
        some.append(item)
        weight += weigh(item)
        if weight >= _SLICE:
            yield some
            some, weight = [], 0
    if some:
        yield some
