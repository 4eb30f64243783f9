"""Live records of a topic, decoded, for people and for pipes."""
