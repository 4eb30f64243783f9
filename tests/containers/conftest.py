"""The image of this checkout, built first. Skipped where no engine answers; in CI, or when asked for, that fails."""

import os

import pytest

from openbsp_testkit.backend import obstacle_to_containers
from support.docker.image import build_image


@pytest.fixture(scope="session")
def own_image() -> str:
    """Build the project's image from this checkout and return its name; all other images are there as well."""
    obstacle = obstacle_to_containers(own_image=False)
    if obstacle is not None:
        if os.environ.get("CI") or os.environ.get("OPENBSP_TESTKIT_BACKEND") == "containers":
            pytest.fail(f"containers are needed: {obstacle}; see tests/support/docker/engine.sh")
        pytest.skip(f"{obstacle}; tests/support/docker/engine.sh start may help")
    return build_image()
