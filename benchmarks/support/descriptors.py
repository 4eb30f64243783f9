"""How many connections this process may have."""

import resource


def at_least(wanted: int) -> int:
    """Raise the soft limit of open files as far as it goes, and return it; processes started later inherit it.

    Raises RuntimeError if there are fewer than `wanted`: a benchmark of fewer connections would be another one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard not in {resource.RLIM_INFINITY, -1} and hard < wanted:
        raise RuntimeError(f"{wanted} open files are needed, and `ulimit -Hn` allows {hard}")
    return hard
