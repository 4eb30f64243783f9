"""HTTP: the listening socket, tokens, problem details."""
