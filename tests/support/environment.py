"""The variables that a process of a test inherits."""

import os

_OURS = ("BRIDGE_", "STREAMS_", "RECONCILE_", "OPENBSP_URL", "OPENBSP_API_KEY", "OPENBSP_ANON_KEY")
_SHARED = ("KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")


def clean_environment(*prefixes: str) -> dict[str, str]:
    """Return the environment without what would change our processes behind the test's back, and without more."""
    return {name: value for name, value in os.environ.items() if not name.startswith((*_OURS, *_SHARED, *prefixes))}
