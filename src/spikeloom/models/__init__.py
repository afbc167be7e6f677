"""Networks of the papers, each a function that returns a torch module over `[T*B, ...]`."""

import sys
from collections.abc import Callable

from torch import nn

from spikeloom.core import registry

known: dict[str, Callable[..., nn.Module]] = registry.functions(sys.modules[__name__])
globals().update(known)
__all__ = ["known", *known]
