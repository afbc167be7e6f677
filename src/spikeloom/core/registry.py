"""Discovery: a new file beside its siblings is registered by existing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from spikeloom.core.errors import SpikeloomError
from spikeloom.core.params import nearest


def modules(package: ModuleType) -> list[ModuleType]:
    """Every module file of `package`, imported, in alphabetical order; `base` and private files are left out."""
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base" and not m.name.startswith("_"))
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def classes(package: ModuleType, base: type) -> dict[str, Any]:
    """`{class name: class}` of the public subclasses of `base` that the files of `package` define."""
    found: dict[str, Any] = {}
    for module in modules(package):
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == module.__name__
            if own and issubclass(value, base) and not name.startswith("_"):
                if name in found:
                    raise SpikeloomError(f"{name}: defined in {found[name].__module__} and again in {module.__name__}; rename one")
                found[name] = value
    return found


def functions(package: ModuleType) -> dict[str, Any]:
    """`{function name: function}` of the public functions that the files of `package` define."""
    return {
        name: value
        for module in modules(package)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def lookup(kind: str, name: str, known: dict[str, Any], error: type[SpikeloomError] = SpikeloomError) -> Any:
    """`known[name]`, or an error that names the nearest entry."""
    if name not in known:
        raise error(f"{kind}: got {name!r}; {nearest(name, known)}")
    return known[name]
