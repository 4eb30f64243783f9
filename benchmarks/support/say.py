"""Progress, on standard error."""

import sys
from time import perf_counter

_BEGIN = perf_counter()


def say(text: str) -> None:
    """Write a line with the seconds since the start."""
    sys.stderr.write(f"{perf_counter() - _BEGIN:7.1f}  {text}\n")
    sys.stderr.flush()
