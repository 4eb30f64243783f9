"""Bridge and workers as every benchmark starts them: their files in one directory, one token for all that they ask."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from openbsp.up.part import PythonPart

TOKEN = "token-of-the-benchmark"


def bridge(servers: Mapping[str, str], directory: Path) -> PythonPart:
    """Return a bridge, which is not started; `servers` is the environment that leads to Kafka and the registry."""
    return PythonPart(
        "bridge",
        ["bridge", "serve"],
        variables="BRIDGE",
        environment={
            **os.environ,
            **servers,
            "BRIDGE_TOKENS": f"benchmark={TOKEN}",
            "BRIDGE_SPOOL_DIR": str(directory / "spool"),
            "BRIDGE_LOG_LEVEL": "WARNING",
        },
        log=directory / "bridge.log",
    )


def reference(port: int) -> list[str]:
    """Return the command of an endpoint that answers both kinds of requests and does nothing."""
    return [sys.executable, str(Path(__file__).parent / "reference.py"), str(port)]


def worker_log(directory: Path, number: int = 0) -> Path:
    """Return the log of a worker."""
    return directory / f"worker-{number}.log"


def worker(servers: Mapping[str, str], directory: Path, number: int = 0, **settings: str) -> PythonPart:
    """Return one of several workers, which is not started; `settings` are variables of its environment."""
    return PythonPart(
        f"worker-{number}",
        ["streams", "worker"],
        variables="STREAMS",
        environment={
            **os.environ,
            **servers,
            "STREAMS_TOKENS": f"benchmark={TOKEN}",
            "STREAMS_DATA_DIR": str(directory / f"data-{number}"),
            **settings,
        },
        log=worker_log(directory, number),
    )
