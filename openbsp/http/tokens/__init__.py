"""Bearer tokens: which are valid, and the answer for those that are not, the same in every service."""
