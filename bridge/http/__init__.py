"""The ingress over HTTP: requests in, answers out."""
