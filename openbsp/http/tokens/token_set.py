"""Bearer tokens: named, each optionally bound to organizations, stored only as hashes."""

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from string import whitespace

from pydantic import SecretStr

from openbsp.errors import TokensError

_SCHEME = b"bearer "
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: RFC 6750's b64token. A shorter one could be guessed, and a fast hash would not protect it in a file.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,}=*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Header values that a set caches: one token may be spelled in several ways.
_MOST_VALID = 1024


@dataclass(frozen=True, slots=True)
class Token:
    """A token's name, hash, and the organizations that it is bound to (None: valid for all)."""

    name: str
    sha256: bytes
    organizations: frozenset[str] | None = None

    def may_see(self, organization: str | None) -> bool:
        """Return whether rows of an organization (None: unknown) are visible to its owner."""
        return self.organizations is None or organization in self.organizations


class TokenSet:
    """Tokens with distinct names."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        """Keep the tokens. Raises TokensError if two have the same name."""
        self._tokens = tuple(tokens)
        #: Valid header values. Trap: an invalid one must never be compared with them directly.
        self._valid: dict[bytes, Token] = {}
        counts = Counter(token.name for token in self._tokens)
        faults = [f"token name {name} is used {count} times" for name, count in counts.items() if count > 1]
        if faults:
            raise TokensError(faults)

    def __len__(self) -> int:
        """Count the tokens."""
        return len(self._tokens)

    def __contains__(self, token: Token) -> bool:
        """Return whether there is this token, with the same organizations."""
        return token in self._tokens

    def authenticate(self, authorization: bytes | None) -> Token | None:
        """Return the token in the value of an Authorization header, or None. Takes the same time for any wrong one."""
        if authorization is None:
            return None
        known = self._valid.get(authorization)
        if known is not None:
            return known
        if authorization[:7].lower() != _SCHEME:
            return None
        digest = hashlib.sha256(authorization[7:].strip()).digest()
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.sha256, digest):
                found = token
        if found is not None and len(self._valid) < _MOST_VALID:
            self._valid[authorization] = found
        return found


def parse_inline(text: str) -> list[Token]:
    """Read `name=token` items, separated by commas or white space; `name=token@org1|org2` binds one to organizations.

    Raises TokensError with all faults.
    """
    tokens = []
    faults = []
    for number, item in enumerate(re.split(r"[,\s]+", text.strip(", \t\r\n")), 1):
        name, separator, rest = item.partition("=")
        secret, at, bound = rest.partition("@")
        organizations = frozenset(filter(None, bound.split("|")))
        if not separator or not _NAME.fullmatch(name):
            faults.append(f"token {number} is not name=token (a name has letters, digits, dots, dashes, underscores)")
        elif not _TOKEN.fullmatch(secret):
            faults.append(f"token {name} needs 16 or more characters, of letters, digits and -._~+/")
        elif at and not organizations:
            faults.append(f"token {name} is bound to no organization: name them after the @, separated by |")
        else:
            tokens.append(token_of(name, secret, organizations))
    if faults:
        raise TokensError(faults)
    return tokens


def parse_file(text: str) -> list[Token]:
    """Read lines `name sha256 [organization ...]`; `#` starts a comment. The hash is of the token, in hexadecimal.

    Raises TokensError with all faults.
    """
    tokens = []
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, digest = words[0], words[1] if len(words) > 1 else ""
        if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
            faults.append(f"line {number} is not `name sha256 [organization ...]`")
        elif any(_DIGEST.fullmatch(word) for word in words[2:]):
            faults.append(f"line {number} has the hash of another token, as if two lines had run into one")
        else:
            tokens.append(Token(name, bytes.fromhex(digest), frozenset(words[2:]) or None))
    if faults:
        raise TokensError(faults)
    return tokens


def gather(prefix: str, inline: SecretStr | None, file: Path | None) -> TokenSet:
    """Return the tokens of the variables `<prefix>_TOKENS` (`inline`) and `<prefix>_TOKENS_FILE`, the file reloaded.

    Raises TokensError, also when there is none.
    """
    if inline is None and file is None:
        raise TokensError([f"no tokens configured: set {prefix}_TOKENS, {prefix}_TOKENS_FILE or both"])
    found = []
    if inline is not None:
        try:
            found += parse_inline(inline.get_secret_value())
        except TokensError as error:
            raise TokensError([f"{prefix}_TOKENS: {fault}" for fault in error.faults]) from None
    if file is not None:
        try:
            found += parse_file(file.read_text("utf-8"))
        except OSError as error:
            raise TokensError([f"{file}: {error.strerror}"]) from None
        except UnicodeDecodeError:
            raise TokensError([f"{file}: not UTF-8 text"]) from None
        except TokensError as error:
            raise TokensError([f"{file}: {fault}" for fault in error.faults]) from None
    if not found:
        raise TokensError([f"{file}: holds no token"])
    return TokenSet(found)


def token_of(name: str, secret: str, organizations: Iterable[str] = ()) -> Token:
    """Return the token whose text is `secret`."""
    return Token(name, _hash(secret), frozenset(organizations) or None)


def new_token(name: str, organizations: Collection[str] = ()) -> tuple[str, str]:
    """Return a fresh token and the line of a tokens file that admits it.

    Raises TokensError for a name or an organization that no line can hold.
    """
    if not _NAME.fullmatch(name):
        raise TokensError(["a token's name has letters, digits, dots, dashes and underscores"])
    if any(
        not organization or {"#", *whitespace} & set(organization) or _DIGEST.fullmatch(organization)
        for organization in organizations
    ):
        raise TokensError(["an organization's id in a tokens file has neither white space nor #, and is no SHA-256"])
    token = secrets.token_urlsafe(32)
    return token, " ".join([name, _hash(token).hex(), *organizations])


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
