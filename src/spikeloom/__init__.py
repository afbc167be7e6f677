"""spikeloom: deep spiking neural networks, every road to them, on PyTorch.

A batch is time-major: inside an `SNN` the batch axis of an ordinary torch network carries T*B. Only neurons and temporal
norms unfold time. `import spikeloom` needs torch and numpy; data, training and reports import what they use when called.
"""

from spikeloom import models, neurons, surrogates
from spikeloom.convert import ConversionError, Converted, convert, tailor
from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import explain
from spikeloom.engine.allocator import tune_allocator
from spikeloom.io.zoo import load
from spikeloom.neurons import IF, LIF, MLF, PLIF, Neuron
from spikeloom.nn import activations, blocks, encoders, losses, norms
from spikeloom.nn.fold import fold_norms
from spikeloom.nn.snn import SNN, Stream

__version__ = "0.1.0"
__all__ = [
    "IF", "LIF", "MLF", "PLIF", "SNN", "ConversionError", "Converted", "Neuron", "SpikeloomError", "Stream", "activations", "blocks",
    "compile", "convert", "encoders", "explain", "fold_norms", "load", "losses", "models", "neurons", "norms", "plasticity", "recipes",
    "surrogates", "tailor", "timing", "tune_allocator",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "compile":
        from spikeloom.infer import compile

        return compile
    if name in ("recipes", "data", "measure", "io", "train", "report", "testing", "timing", "plasticity", "infer"):
        import importlib

        return importlib.import_module(f"spikeloom.{name}")
    raise AttributeError(f"module 'spikeloom' has no attribute {name!r}")
