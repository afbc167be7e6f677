"""One base error, and the three-part message every public error carries: given, allowed, what to do."""


class SpikeloomError(ValueError):
    """Base of every error that spikeloom raises on purpose."""


class ParameterError(SpikeloomError):
    """A neuron, surrogate or layer parameter is out of its range or unknown."""


class ShapeError(SpikeloomError):
    """A tensor's shape does not fit what the call expects."""


class DataError(SpikeloomError):
    """A dataset file is missing, truncated or not what it should be."""


class RecipeError(SpikeloomError):
    """An unknown recipe or an override that names no field."""


class RecordError(SpikeloomError):
    """A run folder or a record file cannot be read."""


def refusal(what: str, given: object, allowed: str, advice: str = "") -> str:
    """Message text: `what: got <given>; must be <allowed>; <advice>`."""
    text = f"{what}: got {given!r}; must be {allowed}"
    return f"{text}; {advice}" if advice else text
