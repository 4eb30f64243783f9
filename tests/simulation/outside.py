"""What the engine touches of the world outside, simulated (streams.engine.outside)."""

import asyncio
from collections.abc import Callable
from typing import Any

from simulation.log import Network


class Threads:
    """Calls that block are done at once, at a moment that the seed chooses; what they would have waited is waited."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def thread(self, name: str) -> "Threads":
        """Return a thread for one owner."""
        del name
        return self

    async def run(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Return what a call returns."""
        network = self._network
        await asyncio.sleep(network.delay() / 4)
        network.owed_s = 0.0
        try:
            return function(*args, **named)
        finally:
            owed, network.owed_s = network.owed_s, 0.0
            if owed:
                await asyncio.sleep(owed)

    def close(self) -> None:
        """Nothing is held."""
