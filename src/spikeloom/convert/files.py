"""Networks from files: torch's own exported programs (.pt2) and ONNX."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from spikeloom.convert.graph import ConversionError
from spikeloom.convert.onnx_graph import OnnxGraph


def load_exported(path: str | os.PathLike[str]) -> nn.Module:
    """The network that `torch.export.save` wrote; what `take` makes of it runs with any batch size, whatever it was exported with.

    ConversionError where the file cannot be read. The format: https://docs.pytorch.org/docs/stable/export.html
    """
    try:
        return torch.export.load(_file(path)).module()
    except ConversionError:
        raise
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        advice = "write it with torch.export.save(torch.export.export(...), path)"
        raise ConversionError(f"{path}: is no exported program: {why}; {advice}") from error


def load_onnx(path: str | os.PathLike[str]) -> nn.Module:
    """The network of an ONNX file, its layers named after the file's nodes, in float32.

    ConversionError where the package onnx is missing, the file cannot be read, or an operator is not among those of a network that can be
    converted. The operators: https://onnx.ai/onnx/operators
    """
    try:
        import onnx  # type: ignore[import-not-found]
    except ImportError as error:
        raise ConversionError("reading ONNX files needs the package onnx; pip install 'spikeloom[onnx]'") from error
    file = _file(path)
    try:
        model = onnx.load(str(file))
    except Exception as error:
        raise ConversionError(f"{path}: is no ONNX file: {type(error).__name__}; write it with torch.onnx.export(...)") from error
    return OnnxGraph(model.graph, str(file)).module()


def _file(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        raise ConversionError(f"{path}: is no file; give the path of a .pt2 or .onnx file")
    return file
