"""Reports as evidence: signed with a key of the deployment, so that readers can verify origin and content.

Ed25519 over the canonical JSON of the report. The private key stays in a file that nobody else can read.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from avro import jsontext
from bridge.reconcile.errors import ReconcileError

#: Before the signed bytes, so that a signature of something else never matches.
_DOMAIN = b"openbsp audit 1\n"
_OTHERS = 0o077
#: Of a file that somebody else owns, such as a mounted secret, the process can be a reader by its group alone.
_OTHERS_BUT_READERS = 0o037


@dataclass(frozen=True, slots=True)
class Audit:
    """A report with its signature. `key` is the id of the key that made it."""

    report: dict[str, Any]
    key: str
    signature: str

    def encode(self) -> bytes:
        """Return it as JSON."""
        return jsontext.encode({"key": self.key, "report": self.report, "signature": self.signature})


def decode(text: bytes) -> Audit:
    """Return what `Audit.encode` wrote. Raises ReconcileError."""
    try:
        content = jsontext.decode(text)
        audit = Audit(content["report"], content["key"], content["signature"])
    except (jsontext.MalformedJsonError, KeyError, TypeError, RecursionError):
        raise ReconcileError("this is not an audit") from None
    if not isinstance(audit.report, dict) or not isinstance(audit.key, str) or not isinstance(audit.signature, str):
        raise ReconcileError("this is not an audit")
    return audit


def make_key(path: Path) -> str:
    """Write a new private key to a new file, and return the text of its public key.

    Raises FileExistsError and other OSErrors.
    """
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    return public_text(key.public_key())


def load_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file. Raises ReconcileError."""
    try:
        status = path.stat()
        if status.st_mode & (_OTHERS if status.st_uid == os.geteuid() else _OTHERS_BUT_READERS):
            raise ReconcileError(f"{path}: others may read this private key: chmod 600 it")
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ReconcileError(f"{path}: {error.strerror}; `bridge audit key` makes a key") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ReconcileError(f"{path}: not a private key in PEM; `bridge audit key` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReconcileError(f"{path}: not an Ed25519 key; `bridge audit key` makes one")
    return key


def public_text(key: Ed25519PublicKey) -> str:
    """Return a public key as a single word."""
    return base64.b64encode(_raw(key)).decode()


def read_public(text: str) -> Ed25519PublicKey:
    """Return the key in such a word. Raises ReconcileError."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        raise ReconcileError(f"{text:.60} is not a public key: `bridge audit key` printed one") from None


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key in audits."""
    return sha256(_raw(key)).hexdigest()[:16]


def sign(report: dict[str, Any], key: Ed25519PrivateKey) -> Audit:
    """Return the report with its signature."""
    signature = key.sign(_DOMAIN + jsontext.encode(report))
    return Audit(report, key_id(key.public_key()), base64.b64encode(signature).decode())


def fault(audit: Audit, keys: list[Ed25519PublicKey]) -> str | None:
    """Return why an audit is not to be trusted, None if one of the keys signed it as it is."""
    known = {key_id(key): key for key in keys}
    key = known.get(audit.key)
    if key is None:
        return f"signed with the key {audit.key}, which is not among those given"
    try:
        key.verify(base64.b64decode(audit.signature, validate=True), _DOMAIN + jsontext.encode(audit.report))
    except (InvalidSignature, ValueError, binascii.Error):
        return "the signature does not match: the report was changed"
    return None


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
