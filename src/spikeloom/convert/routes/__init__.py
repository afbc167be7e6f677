"""Routes: published conversions as whole methods, one file each. `known` maps a method's name to a function."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from spikeloom.convert.routes.base import Route
from spikeloom.core import registry
from spikeloom.core.errors import ParameterError

known: dict[str, Callable[[], Route]] = {
    name.replace("_", "-"): function for name, function in registry.functions(sys.modules[__name__]).items()
}
__all__ = ["Route", "known", "load"]


def load(method: str, options: Mapping[str, Any] | None = None) -> Route:
    """The route of a method with options replaced. Raises ParameterError naming the nearest method or option."""
    return registry.lookup("method", method, known, ParameterError)().override(method, options or {})
