"""Foreign records: records in a partition's logs that its owner did not write."""

import logging

from openbsp.log import event

logger = logging.getLogger(__name__)


def id_of(topic: str, partition: int, key: bytes) -> str | None:
    """Return the id in the key of a foreign record; None, with a log line, if the key is not a worker's."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        logger.warning(
            "%s[%d]: a foreign record has the key %r, which is no id; it is left as it is: find out what writes to "
            "the topic, and revoke its right to write",
            topic,
            partition,
            key,
            extra=event("table.foreign_key", topic=topic),
        )
        return None
