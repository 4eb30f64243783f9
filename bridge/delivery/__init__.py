"""From an accepted event to Kafka: keeper, publisher, spool and its drain."""
