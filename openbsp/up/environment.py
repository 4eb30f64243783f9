"""The environment variables of a stack on this machine."""

from collections.abc import MutableMapping

from openbsp.local.ports import LOOPBACK

_OTHER_SERVERS = ("KAFKA_", "SCHEMA_REGISTRY_")
#: A few partitions start quickly.
_PARTITIONS = "4"


def localize(environment: MutableMapping[str, str]) -> None:
    """Change `environment` so that this process and its children deal with one broker on this machine only.

    Variables for connections to other servers are removed; prefix and partition count of the topics can be chosen.
    """
    for name in [name for name in environment if name.startswith(_OTHER_SERVERS)]:
        del environment[name]
    environment.setdefault("TOPIC_PARTITIONS", _PARTITIONS)
    environment["TOPIC_REPLICATION_FACTOR"] = environment["TOPIC_MIN_INSYNC_REPLICAS"] = "1"
    # Trap: the registry's client would ask a proxy of the environment for 127.0.0.1.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, (environment.get(name), LOOPBACK)))
