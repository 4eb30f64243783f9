"""Kafka and a registry on this machine, for system tests, which import nothing else of ours."""

from openbsp.local.stack import LocalStack

__all__ = ["LocalStack"]
