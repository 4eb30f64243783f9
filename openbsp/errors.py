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
        """Store each fault separately."""
        super().__init__("topics do not fit the catalogue:\n  " + "\n  ".join(faults))
        self.faults = faults


class RegistryError(ContractError):
    """The schema registry refused (`refused`; `absent` if it does not have the requested object), or is unavailable.

    Only its own error codes are a refusal. One that does not let this client in, or not so often, has refused nothing;
    nor has a proxy before it that answers 404, or a server with an invalid answer.
    """

    def __init__(self, message: str, *, refused: bool, absent: bool = False) -> None:
        """Set whether a retry could help, and whether registering could."""
        super().__init__(message)
        self.refused = refused
        self.absent = absent


class KafkaSettingsError(ContractError):
    """No client can be made of the KAFKA_ settings: a file that is no certificate, an unknown mechanism."""


class KafkaUnavailableError(ContractError):
    """No broker answered in time."""


class TokensError(ValueError):
    """Unusable tokens. `faults` has a line for each reason, none of which quotes one."""

    def __init__(self, faults: list[str]) -> None:
        """Store each fault separately."""
        super().__init__("; ".join(faults))
        self.faults = faults


class InheritedSocketError(ValueError):
    """The socket that this process inherited cannot be served."""
