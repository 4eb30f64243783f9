"""Kafka and the schema registry: connections, topics, schema ids."""
