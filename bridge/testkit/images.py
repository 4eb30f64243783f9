"""The images that a stack of containers is made of. Those of others have the versions that the local stack runs."""

import os
from importlib.metadata import version

from openbsp.local.lockfile import read_lock

IMAGE_VARIABLE = "BRIDGE_TEST_IMAGE"
"""Environment variable with the name of this project's image, for those who keep it in a registry of their own."""


def kafka_image() -> str:
    """Return the name of the broker's image."""
    return f"apache/kafka:{read_lock()['kafka'].version}"


def registry_image() -> str:
    """Return the name of the schema registry's image."""
    return f"apicurio/apicurio-registry:{read_lock()['registry'].version}"


def bridge_image() -> str:
    """Return the name of this project's image: $BRIDGE_TEST_IMAGE, else as `docker compose build` names it."""
    return os.environ.get(IMAGE_VARIABLE) or f"openbsp-stream-bridge:{version('openbsp-stream-bridge')}"
