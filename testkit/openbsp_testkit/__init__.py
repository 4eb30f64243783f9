"""For teams that consume OpenBSP's topics: a real stack in tests, rows as OpenBSP sends them, a sender like OpenBSP's.

pytest finds the fixtures of `openbsp_testkit.plugin` by itself. This package imports nothing of the services: they
run in containers or in an environment of their own.
"""
