"""HTTP ingress: webhooks in, Avro events on Kafka out, nothing accepted is lost."""
