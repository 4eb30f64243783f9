"""The tables of the join: rows, contributions, tallies, and what is in use."""
