"""Suppressed contacts, which were erased and stay out: a list of hashes in a topic, written by `bridge erase`."""
