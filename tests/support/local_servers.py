"""Kafka and a registry on this machine, a socket and tokens: what system tests need, which import nothing of ours."""

from openbsp.http.listener import listen
from openbsp.http.tokens import new_token
from openbsp.local.stack import LocalStack

__all__ = ["LocalStack", "listen", "new_token"]
