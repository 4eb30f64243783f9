"""The whole stack on this machine, in the foreground: Kafka, registry, bridge and streams."""
