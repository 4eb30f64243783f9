"""Slices of what is to be done, one kind of work after the other.

A processor that does one thing over and over has its code and data at hand. Events are read, then merged; what follows
from them is made, then encoded, then written: that is worth a sixth of an event's time (docs/decisions/0163).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

#: Items that are dealt with together: a small part of the time after which others have their turn.
_SLICE = 50


def slices(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield items in lists."""
    rest = iter(items)
    while some := list(islice(rest, _SLICE)):
        yield some
