"""Faust worker: joins events to per-conversation state, and answers questions about it."""
