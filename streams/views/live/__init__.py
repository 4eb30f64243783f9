"""Event streams: conversations as they change, also those of other workers."""
