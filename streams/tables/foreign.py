"""Foreign records: what another program than a partition's owner wrote to its logs."""

import logging

from openbsp.log import event

logger = logging.getLogger(__name__)


def id_of(topic: str, partition: int, key: bytes) -> str | None:
    """Return the id that the key of a foreign record is; None, with a line in the log, if no worker made the key."""
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
