"""Inference on a CPU: `compile` an SNN into a Runner that spends nothing on what is silent."""

from spikeloom.infer.compiler import compile
from spikeloom.infer.files import load, save
from spikeloom.infer.runner import Row, Runner, Stream

__all__ = ["Row", "Runner", "Stream", "compile", "load", "save"]
