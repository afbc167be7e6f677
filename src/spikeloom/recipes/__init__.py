"""Published results as frozen runs, one file each. `recipes.known` maps recipe names to functions."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from spikeloom.core import registry
from spikeloom.core.errors import RecipeError
from spikeloom.train.run import Run, override

known: dict[str, Callable[[], Run]] = {
    name.replace("_", "-"): function for name, function in registry.functions(sys.modules[__name__]).items()
}
__all__ = ["known", "load"]


def load(name: str, changes: Mapping[str, Any] | None = None) -> Run:
    """The run of recipe `name` with fields overridden. Raises RecipeError naming the nearest recipe or field."""
    return override(registry.lookup("recipe", name, known, RecipeError)(), changes or {})
