"""Published results as frozen runs and experiments, one file each. `recipes.known` maps recipe names to functions."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from spikeloom.core import registry
from spikeloom.core.errors import RecipeError
from spikeloom.train import experiment
from spikeloom.train.experiment import Experiment
from spikeloom.train.run import Run, override

known: dict[str, Callable[[], Run | Experiment]] = {
    name.replace("_", "-"): function for name, function in registry.functions(sys.modules[__name__]).items()
}
__all__ = ["known", "load"]


def load(name: str, changes: Mapping[str, Any] | None = None) -> Any:
    """The `Run` or `Experiment` of recipe `name` with fields overridden. Raises RecipeError naming the nearest recipe or field."""
    found = registry.lookup("recipe", name, known, RecipeError)()
    return experiment.override(found, changes or {}) if isinstance(found, Experiment) else override(found, changes or {})
