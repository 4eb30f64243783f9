"""The images of a stack of containers. Those of others have the versions that `bridge up` runs."""

from __future__ import annotations

from importlib.metadata import version

from openbsp_testkit.options import Options

KAFKA_IMAGE = "apache/kafka:4.4.0"
REGISTRY_IMAGE = "apicurio/apicurio-registry:3.3.3"


def services_image(options: Options | None = None) -> str:
    """Return the name of the services' image: from the settings, else that of `docker compose build`."""
    options = Options.read() if options is None else options
    return options.image or f"openbsp-stream-bridge:{version('openbsp-testkit')}"
