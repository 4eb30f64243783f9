"""Event streams: conversations as they change."""
