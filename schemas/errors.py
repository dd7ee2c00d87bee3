"""The one hierarchy of errors: each says what is wrong and what to do next."""

_SHOWN_MAX = 100


def shown(field: object) -> str:
    """A field as a message shows it: short, whatever was sent."""
    if isinstance(field, dict | list):  # may be nested too deep for repr
        return "an object" if isinstance(field, dict) else "an array"
    if isinstance(field, int) and field.bit_length() > 300:  # Python does not print very long ones
        return f"a number of {field.bit_length()} bits"
    text = repr(field[: _SHOWN_MAX + 1]) if isinstance(field, str | bytes) else repr(field)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}... (cut)"


class GridloomError(Exception):
    """A problem a person can act on: what happened, and the next step."""

    def __init__(self, message: str, next_step: str = "") -> None:
        self.message = message
        self.next_step = next_step
        super().__init__(f"{message}. {next_step}" if next_step else message)


class DecodeError(GridloomError):
    """Bytes that are not what their topic promises (wrong content type, version or columns)."""


class FieldError(GridloomError):
    """One field of one row that cannot be accepted; `reason` is the dead letter's reason code."""

    def __init__(self, reason: str, field: str, message: str, next_step: str = "") -> None:
        self.reason = reason
        self.field = field
        super().__init__(message, next_step)


class RegistryError(GridloomError):
    """A registry entry that cannot be admitted."""


class ConfigError(GridloomError):
    """A setting or command that cannot be carried out as given."""
