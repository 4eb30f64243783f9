"""Tokens of the bridge and of the streams worker, from the command line."""
