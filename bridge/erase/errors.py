"""What can go wrong with an erasure."""


class EraseError(Exception):
    """Why nothing was erased, or not everything, or why a report cannot be verified."""
