"""For other teams: a real stack in tests, rows as OpenBSP sends them, and a sender that behaves like it.

Needs the extra `testkit`. With it, pytest finds the fixtures of `bridge.testkit.plugin` by itself; the page
docs/test-your-consumer.md shows them.
"""
