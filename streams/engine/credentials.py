"""The Kafka settings in the form of Faust's member; everything else uses librdkafka (`KafkaSettings`)."""

import ssl

import faust
import httpx
from aiokafka.abc import AbstractTokenProvider
from faust.types.auth import CredentialsT

from openbsp.kafka.connection import KafkaSettings, SaslMechanism

_TIMEOUT_S = 10.0


class _ClientCredentials(AbstractTokenProvider):  # type: ignore[misc] # aiokafka's classes have no types
    """Fetches a token for each connection, by the OAuth 2.0 client credentials grant (RFC 6749, 4.4)."""

    def __init__(self, kafka: KafkaSettings, context: ssl.SSLContext) -> None:
        self._kafka = kafka
        self._context = context

    async def token(self) -> str:
        kafka = self._kafka
        secret = kafka.sasl_oauth_client_secret
        form = {"grant_type": "client_credentials"}
        if kafka.sasl_oauth_scope:
            form["scope"] = kafka.sasl_oauth_scope
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, verify=self._context) as client:
            answer = await client.post(
                kafka.sasl_oauth_token_url or "",
                data=form,
                auth=(kafka.sasl_oauth_client_id or "", secret.get_secret_value() if secret else ""),
            )
        answer.raise_for_status()
        return str(answer.json()["access_token"])


def credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Return the credentials of the member; None for a cluster without any security.

    Raises OSError or ssl.SSLError for unusable certificates and keys.
    """
    protocol = kafka.security_protocol
    context = _tls(kafka) if protocol.encrypted else None
    if not protocol.authenticated:
        return None if context is None else faust.SSLCredentials(context)
    if kafka.sasl_mechanism is SaslMechanism.OAUTHBEARER:
        provider = _ClientCredentials(kafka, _tls(kafka))
        return faust.OAuthCredentials(oauth_cb=provider, ssl_context=context)
    password = kafka.sasl_password
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=None if password is None else password.get_secret_value(),
        ssl_context=context,
        mechanism=None if kafka.sasl_mechanism is None else kafka.sasl_mechanism.value,
    )


def _tls(kafka: KafkaSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if kafka.ssl_ca_file is None else str(kafka.ssl_ca_file))
    if kafka.ssl_certificate_file is not None:
        password = kafka.ssl_key_password
        context.load_cert_chain(
            kafka.ssl_certificate_file,
            kafka.ssl_key_file,
            None if password is None else password.get_secret_value(),
        )
    return context
