"""The partition of a key, as every producer of the contract computes it."""

from aiokafka.partitioner import murmur2


def hash_of(key: bytes) -> int:
    """Return the hash that is divided by the number of partitions."""
    return int(murmur2(key)) & 0x7FFFFFFF
