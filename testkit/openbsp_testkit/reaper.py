"""Removes the containers of a killed test run: Ryuk of testcontainers, else a process of this kit.

`python -m openbsp_testkit.reaper LABEL` is that process: when its standard input ends, as it does however the test run
ended, it removes the containers and networks with the label.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openbsp_testkit import lifeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LABEL = "org.openbsp.testkit.run"
_LOOKS = 3
_PAUSE_S = 0.5


def label_of(run: str) -> dict[str, str]:
    """Return the label of a test run's containers and networks."""
    return {_LABEL: run}


@contextmanager
def cleaned_up(run: str, say: Callable[[str], None]) -> Iterator[None]:
    """Guarantee that everything with the label of `run` is removed even when this process is killed in the block.

    Switches Ryuk off in this process if its image is neither there nor can be pulled; else no container could start.
    """
    obstacle = obstacle_to_ryuk()
    if obstacle is None:
        yield
        return
    say(f"Ryuk is off ({obstacle}): a process of the test kit removes the containers if this run is killed")
    process = subprocess.Popen(  # noqa: S603 this module
        [sys.executable, "-m", __name__, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=Path(sys.executable).anchor,  # no folder of the team's precedes the installed packages
        start_new_session=True,
    )
    lifeline.hold(process.stdin)
    try:
        yield
    finally:
        process.communicate()


def obstacle_to_ryuk() -> str | None:
    """Return why Ryuk does not run, None if it does; without its image it is switched off in this process."""
    import docker  # type: ignore[import-untyped]  # noqa: PLC0415 of an extra
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415

    if testcontainers_config.ryuk_disabled:
        return "it was switched off, as by TESTCONTAINERS_RYUK_DISABLED"
    image = testcontainers_config.ryuk_image
    with closing(docker.from_env()) as client:
        try:
            client.images.get(image)
        except docker.errors.ImageNotFound:
            try:
                client.images.pull(image)
            except docker.errors.APIError:
                testcontainers_config.ryuk_disabled = True
                return f"there is no image {image}, and it cannot be pulled"
    return None


def remove(run: str) -> None:
    """Remove all containers and networks of a test run, including those made meanwhile."""
    import docker  # noqa: PLC0415 of an extra

    wanted = {"label": f"{_LABEL}={run}"}
    with closing(docker.from_env()) as client:
        for look in range(_LOOKS):
            if look:
                time.sleep(_PAUSE_S)
            for container in client.containers.list(all=True, filters=wanted):
                container.remove(force=True, v=True)
            for network in client.networks.list(filters=wanted):
                network.remove()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    remove(sys.argv[1])
