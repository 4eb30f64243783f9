"""The tokens of a stack: one for everything, and some that are bound to an organization each."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field

from openbsp_testkit.errors import TestkitError

#: One for each test of a large suite. Trap: Linux takes no variable of more than 128 KiB.
TENANTS = 1000


@dataclass(frozen=True)
class BoundToken:
    """A token that may send rows and see views of one organization only."""

    organization_id: str
    token: str = field(repr=False)


class Tokens:
    """The tokens of a stack. Its services read their tokens when they start, so the bound ones are made in advance."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        """Valid for all organizations."""
        self._bound = [BoundToken(str(uuid.uuid4()), secrets.token_urlsafe(24)) for _ in range(TENANTS)]
        self._free = iter(self._bound)

    @property
    def variable(self) -> str:
        """The value of BRIDGE_TOKENS and STREAMS_TOKENS."""
        bound = (f"tenant{number}={each.token}@{each.organization_id}" for number, each in enumerate(self._bound))
        return ",".join([f"tests={self.token}", *bound])

    def bind(self) -> BoundToken:
        """Return a token of a new organization. TestkitError when there is none left."""
        try:
            return next(self._free)
        except StopIteration:
            raise TestkitError(
                f"a stack has {TENANTS} organizations with a token of their own, and all were given out: let tests"
                " share a tenant (a fixture of yours that calls `openbsp_stack.tenant()`, with a wider scope)"
            ) from None
