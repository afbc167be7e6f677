"""From a trained ANN to a spiking network: one verb, `convert`; passes, normalisers and routes, one file each."""

from spikeloom.convert.affine import Affine
from spikeloom.convert.graph import ConversionError
from spikeloom.convert.pipeline import Conversion, Converted, convert
from spikeloom.convert.tailor import tailor

__all__ = ["Affine", "Conversion", "ConversionError", "Converted", "convert", "tailor"]
