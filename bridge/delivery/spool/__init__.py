"""The spool: events on disk while Kafka cannot take them."""
