"""Where a stack for tests runs: in containers, or as processes of this machine."""

import gc
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum

from bridge.testkit.errors import BackendError
from bridge.testkit.images import bridge_image, kafka_image, registry_image

BACKEND_VARIABLE = "BRIDGE_TEST_BACKEND"
"""Environment variable that decides: `containers` or `local`."""


class Backend(Enum):
    """The two kinds of stacks. Tests see no difference between them."""

    CONTAINERS = "containers"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend and why it is used."""

    backend: Backend
    reason: str

    def __str__(self) -> str:
        return f"{self.backend.value} ({self.reason})"


def obstacle_to_containers(*, own_image: bool = True) -> str | None:
    """Return why no stack can run in containers here, None if one can. `own_image`: look for that as well."""
    try:
        # Takes a quarter of a second, which only those who need it should spend.
        import docker  # type: ignore[import-untyped]  # noqa: PLC0415
    except ModuleNotFoundError:
        return "the extra `testkit` is not installed"
    client = None
    with suppress(docker.errors.DockerException):
        client = docker.from_env(timeout=5)
    if client is None:
        # Trap: docker-py leaves the socket of a failed attempt to the garbage collector, which complains of it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        return "no Docker engine answers"
    with closing(client):
        for image in (kafka_image(), registry_image(), *([bridge_image()] if own_image else [])):
            try:
                client.images.get(image)
            except docker.errors.ImageNotFound:
                return f"there is no image {image}"
            except docker.errors.DockerException as error:
                return f"the Docker engine fails: {error}"
    return None


def choose(
    environment: Mapping[str, str] = os.environ, find_obstacle: Callable[[], str | None] = obstacle_to_containers
) -> Choice:
    """Return the backend that the environment wants, else containers where they can be started, else processes.

    BackendError if the wanted one cannot be used: a test run that asked for containers never passes without them.
    """
    wanted = environment.get(BACKEND_VARIABLE, "")
    if wanted == Backend.LOCAL.value:
        return Choice(Backend.LOCAL, f"as {BACKEND_VARIABLE} says")
    if wanted not in {"", Backend.CONTAINERS.value}:
        raise BackendError(f"{BACKEND_VARIABLE}={wanted}: it can be containers or local")
    obstacle = find_obstacle()
    if obstacle is None:
        return Choice(Backend.CONTAINERS, f"as {BACKEND_VARIABLE} says" if wanted else "Docker answers")
    if wanted:
        raise BackendError(f"{BACKEND_VARIABLE}={wanted}, but {obstacle}")
    return Choice(Backend.LOCAL, obstacle)
