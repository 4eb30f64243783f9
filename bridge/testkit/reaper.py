"""Ryuk, the container with which testcontainers removes what a killed test run leaves behind."""

from contextlib import closing

import docker  # type: ignore[import-untyped]
from testcontainers.core.config import testcontainers_config


def do_without_reaper_where_it_cannot_be_had() -> None:
    """Switch Ryuk off in this process if its image is neither there nor can be pulled; else nothing could start."""
    if testcontainers_config.ryuk_disabled:
        return
    with closing(docker.from_env()) as client:
        try:
            client.images.get(testcontainers_config.ryuk_image)
        except docker.errors.ImageNotFound:
            try:
                client.images.pull(testcontainers_config.ryuk_image)
            except docker.errors.APIError:
                testcontainers_config.ryuk_disabled = True
