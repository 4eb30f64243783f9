"""What can go wrong with OpenBSP's REST API."""


class PlatformError(Exception):
    """OpenBSP's API did not answer, or refused. The message says what to do; it quotes no key and no row."""
