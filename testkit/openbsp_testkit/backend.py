"""Where a stack for tests runs: in containers, or as processes of this machine."""

from __future__ import annotations

import gc
import warnings
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from openbsp_testkit.errors import BackendError, OptionError
from openbsp_testkit.images import KAFKA_IMAGE, REGISTRY_IMAGE, services_image
from openbsp_testkit.options import Options, variable

if TYPE_CHECKING:
    from collections.abc import Callable


class Backend(Enum):
    """The two kinds of stacks. Tests see no difference between them."""

    CONTAINERS = "containers"
    LOCAL = "local"


@dataclass(frozen=True)
class Choice:
    """A backend and why it is used."""

    backend: Backend
    reason: str

    def __str__(self) -> str:
        return f"{self.backend.value} ({self.reason})"


def obstacle_to_containers(options: Options | None = None, *, own_image: bool = True) -> str | None:
    """Return why no stack can run in containers here, None if one can. `own_image`: look for that as well."""
    options = Options.read() if options is None else options
    try:
        # Takes a quarter of a second, which only those who need it should spend.
        import docker  # type: ignore[import-untyped]  # noqa: PLC0415
        import testcontainers.core  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        return "the extra `containers` is not installed"
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
        for image in (KAFKA_IMAGE, REGISTRY_IMAGE, *([services_image(options)] if own_image else [])):
            try:
                client.images.get(image)
            except docker.errors.ImageNotFound:  # noqa: PERF203 two or three of them
                return f"there is no image {image}"
            except docker.errors.DockerException as error:
                return f"the Docker engine fails: {error}"
    return None


def choose(
    options: Options | None = None, find_obstacle: Callable[[Options], str | None] = obstacle_to_containers
) -> Choice:
    """Return the backend that the settings want, else containers where they can be started, else processes.

    BackendError if the wanted one cannot be used: a test run that asked for containers never passes without them.
    """
    options = Options.read() if options is None else options
    wanted = options.backend
    if wanted == Backend.LOCAL.value:
        return Choice(Backend.LOCAL, "as set")
    if wanted not in {"", Backend.CONTAINERS.value}:
        raise OptionError(f"{variable('backend')} can be containers or local, not {wanted}")
    obstacle = find_obstacle(options)
    if obstacle is None:
        return Choice(Backend.CONTAINERS, "as set" if wanted else "Docker answers")
    if wanted:
        raise BackendError(f"{variable('backend')}=containers, but {obstacle}")
    return Choice(Backend.LOCAL, obstacle)
