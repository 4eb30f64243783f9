"""The query side: the tables over HTTP."""
