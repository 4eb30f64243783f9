"""Settings from the environment: all faults at once, and a reference generated from the same classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings


class ConfigurationError(ValueError):
    """The environment does not describe a runnable process. `faults` has a line for each reason."""

    def __init__(self, faults: list[str]) -> None:
        """Store each fault separately."""
        super().__init__("the settings are not usable:\n  " + "\n  ".join(faults))
        self.faults = faults


def load(*classes: type[BaseSettings]) -> tuple[Any, ...]:
    """Read each class of settings from the environment.

    Raises ConfigurationError with the faults of all of them, by variable name and without any value.
    """
    loaded = []
    faults = []
    for settings in classes:
        try:
            loaded.append(settings())
        except ValidationError as error:
            for fault in error.errors(include_input=False, include_url=False):
                name = _variable(settings, str(fault["loc"][0])) + ": " if fault["loc"] else ""
                faults.append(f"{name}{fault['msg'].removeprefix('Value error, ')}")
    if faults:
        raise ConfigurationError(faults)
    return tuple(loaded)


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of the settings reference."""

    variable: str
    type: str
    default: str
    description: str


def describe(*classes: type[BaseSettings]) -> Iterator[Setting]:
    """Yield a line for each setting, in the order of declaration."""
    for settings in classes:
        for name, field in settings.model_fields.items():
            default = "required" if field.is_required() else field.get_default(call_default_factory=True)
            if default is None or isinstance(default, SecretStr):
                default = "unset"
            default = getattr(default, "value", default)
            yield Setting(
                _variable(settings, name), _type_name(field.annotation), str(default), field.description or ""
            )


def _variable(settings: type[BaseSettings], name: str) -> str:
    return f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def _type_name(annotation: Any) -> str:
    members = [member for member in get_args(annotation) if member is not type(None)]
    if len(members) == 1:
        annotation = members[0]
    if values := getattr(annotation, "__members__", None):
        return " or ".join(str(member.value) for member in values.values())
    return {"SecretStr": "secret", "str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(
        getattr(annotation, "__name__", str(annotation)), getattr(annotation, "__name__", str(annotation)).lower()
    )
