"""Reads the rows of an OpenBSP, compares them with the state topics, and repairs what webhooks missed."""
