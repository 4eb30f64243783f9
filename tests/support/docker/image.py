"""Builds the project's image from this checkout, under the name that the test kit uses. Quick when nothing changed."""

import os
import subprocess
from pathlib import Path

from openbsp_testkit.images import services_image

ROOT = Path(__file__).parents[3]


def build_image() -> str:
    """Build the image and return its name; CalledProcessError, with the builder's words on the screen, if it fails."""
    name = services_image()
    subprocess.run(["docker", "build", "--quiet", f"--tag={name}", str(ROOT)], env=builder_environment(), check=True)
    return name


def builder_environment() -> dict[str, str]:
    """Return the environment for `docker build` and `docker compose build`: the former builder where buildx is not."""
    buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    return {**os.environ, **({} if buildx.returncode == 0 else {"DOCKER_BUILDKIT": "0"})}


if __name__ == "__main__":
    print(build_image())
