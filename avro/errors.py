"""What can go wrong with the contract.

ContractError             also the base of what goes wrong with the servers that hold it (openbsp.errors)
└── SchemasError          schema versions that break the contract by themselves
"""


class ContractError(Exception):
    """The servers do not fit the contract; the message says what to do."""


class SchemasError(ContractError):
    """Schema versions changed after their release, or do not fit each other. `faults` has a line for each."""

    def __init__(self, faults: list[str]) -> None:
        """Keep each fault apart."""
        super().__init__("the schemas break the contract:\n  " + "\n  ".join(faults))
        self.faults = faults
