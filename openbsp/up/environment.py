"""The environment variables of a stack on this machine."""

from collections.abc import MutableMapping

from openbsp.local.ports import LOOPBACK

_OTHER_SERVERS = ("KAFKA_", "SCHEMA_REGISTRY_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
#: A few partitions start quickly.
_PARTITIONS = "4"


def localize(environment: MutableMapping[str, str]) -> None:
    """Change `environment` so that this process and its children deal with one broker on this machine only.

    Variables for connections to other servers are removed, and those for SOCKS proxies: no client here speaks SOCKS,
    and that of the registry fails where it is set. Prefix and partition count of the topics can be chosen.
    """
    unwanted = [
        name
        for name, value in environment.items()
        if name.startswith(_OTHER_SERVERS) or (name.lower() in _PROXIES and value.startswith("socks"))
    ]
    for name in unwanted:
        del environment[name]
    environment.setdefault("TOPIC_PARTITIONS", _PARTITIONS)
    environment["TOPIC_REPLICATION_FACTOR"] = environment["TOPIC_MIN_INSYNC_REPLICAS"] = "1"
    # Trap: the registry's client would ask a proxy of the environment for 127.0.0.1.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, (environment.get(name), LOOPBACK)))
