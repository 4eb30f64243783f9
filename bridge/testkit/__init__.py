"""For other teams: a real stack in tests, rows as OpenBSP sends them, and a sender that behaves like it."""
