"""Lightning checkpoints as one safetensors file: tensors beside a JSON description of the rest. No pickle, atomic."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from torch import Tensor

from spikeloom.core.errors import RecordError


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint of tensors, numbers, strings, lists, tuples and dicts; refuses anything else by name."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write to a temporary name and rename: a kill leaves the old file or the new one."""
        from safetensors.torch import save_file

        path, tensors = Path(path), {}
        text = json.dumps(_pack(checkpoint, tensors, "checkpoint"))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        save_file(tensors, temporary, metadata={"state": text})
        os.replace(temporary, path)

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote. Raises RecordError naming the file."""
        from safetensors import safe_open

        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return _unpack(json.loads(file.metadata()["state"]), tensors)
        except Exception as error:
            raise RecordError(f"checkpoint: {path} cannot be read ({error}); delete it to start the run again") from error


def _pack(value: Any, tensors: dict[str, Tensor], where: str) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {"dict": [[_pack(k, tensors, where), _pack(v, tensors, f"{where}.{k}")] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__ if type(value) in (list, tuple) else "tuple": [_pack(v, tensors, where) for v in value]}
    if isinstance(value, torch.Size):
        return {"tuple": list(value)}
    raise RecordError(f"checkpoint: {where} is a {type(value).__name__}, which is not plain data")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, body),) = value.items()
    if kind == "tensor":
        return tensors[body]
    if kind == "dict":
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in body}
    items = [_unpack(v, tensors) for v in body]
    return items if kind == "list" else tuple(items)
