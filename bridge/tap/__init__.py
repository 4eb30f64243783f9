"""Records of a topic as they come, decoded, for people and for pipes."""
