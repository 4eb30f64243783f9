"""Erasing messages, conversations and people: what is deleted, and where and until when something is left."""
