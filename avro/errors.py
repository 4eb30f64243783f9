"""What can go wrong with the contract.

ContractError             also the base of errors of its servers (openbsp.errors)
└── SchemasError          incompatible or changed schema versions
"""


class ContractError(Exception):
    """The servers do not match the contract; the message says what to do."""


class SchemasError(ContractError):
    """Schema versions changed after their release, or are incompatible. `faults` has a line for each."""

    def __init__(self, faults: list[str]) -> None:
        """Store each fault separately."""
        super().__init__("the schemas break the contract:\n  " + "\n  ".join(faults))
        self.faults = faults
