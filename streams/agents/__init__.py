"""The agents of the join: loops over batches, one for each source, and the timer that evicts idle conversations."""
