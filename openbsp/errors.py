"""What can go wrong with the servers and settings that every process shares.

ContractError (avro.errors)
├── TopicsError             topics missing or different from the catalogue
├── RegistryError           the registry refused or did not answer
├── KafkaSettingsError      no client can be made of the settings
└── KafkaUnavailableError   no broker answered
TokensError                 tokens that cannot be used as given
InheritedSocketError        the socket that a process was started with cannot be served
"""

from avro.errors import ContractError


class TopicsError(ContractError):
    """Topics are missing or differ. `faults` has a line for each."""

    def __init__(self, faults: list[str]) -> None:
        """Keep each fault apart."""
        super().__init__("topics do not fit the catalogue:\n  " + "\n  ".join(faults))
        self.faults = faults


class RegistryError(ContractError):
    """The schema registry refused (`refused`; `absent` where it does not know what was asked for), or cannot be asked.

    Only its own error codes are a refusal. One that does not let this client in, or not so often, has refused nothing;
    nor has a proxy before it that answers 404, or one that answers something that is no answer.
    """

    def __init__(self, message: str, *, refused: bool, absent: bool = False) -> None:
        """Keep whether asking again could help, and whether registering could."""
        super().__init__(message)
        self.refused = refused
        self.absent = absent


class KafkaSettingsError(ContractError):
    """The KAFKA_ settings lead to no client: a file that is no certificate, an unknown mechanism."""


class KafkaUnavailableError(ContractError):
    """No broker answered in time."""


class TokensError(ValueError):
    """Tokens that cannot be used as they are given. `faults` has a line for each reason, none of which quotes one."""

    def __init__(self, faults: list[str]) -> None:
        """Keep each fault apart."""
        super().__init__("; ".join(faults))
        self.faults = faults


class InheritedSocketError(ValueError):
    """The socket that this process inherited cannot be served."""
