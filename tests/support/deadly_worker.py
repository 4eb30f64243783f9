"""`streams` with a fault: the event of the id in DEADLY_ID ends it. `python -m support.deadly_worker worker`."""

import os
import runpy
import signal
from typing import Any

from streams.contract import Contract

_event = Contract.event


def _deadly(self: Contract, name: str, value: bytes) -> dict[str, Any]:
    fields = _event(self, name, value)
    if fields["id"] == os.environ["DEADLY_ID"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return fields


Contract.event = _deadly  # type: ignore[method-assign]

if __name__ == "__main__":
    runpy.run_module("streams", run_name="__main__")
