"""The loops: one task for each partition of each table, and the agent that drives them."""
