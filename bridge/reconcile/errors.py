"""What can go wrong with a reconcile."""


class ReconcileError(Exception):
    """A run cannot go on. The message says what to do; it quotes no key and no row."""
