"""Erasing messages, conversations and people: what is deleted, and what is left where and until when."""
