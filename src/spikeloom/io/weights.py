"""Weights in and out: safetensors, and the `.npz` files that other authors publish. Never pickle."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from spikeloom.core.errors import DataError, refusal
from spikeloom.neurons import Neuron


def save(module: nn.Module, path: Path) -> None:
    """Write the parameters and buffers of `module` to `path` (safetensors), atomically."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, temporary)
    temporary.chmod(0o644)  # safetensors gives it to its owner alone
    os.replace(temporary, path)


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a `.safetensors` or `.npz` file. Raises DataError naming the file."""
    if not path.is_file():
        raise DataError(f"weights: no file {path}; give a .safetensors or .npz file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix == ".npz":
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except Exception as error:
        raise DataError(f"weights: {path} cannot be read ({error}); it is truncated or not what its suffix says") from error
    raise DataError(refusal("weights", str(path), "a .safetensors or .npz file"))


def load(module: nn.Module, path: Path) -> None:
    """Fill `module` from `path`; fixed neuron constants may be absent (the configuration has them).

    Raises DataError when a weight is missing, unknown or of another shape.
    """
    tensors, own = read(path), module.state_dict()
    constants = {f"{name}.{buffer}" for name, m in module.named_modules() if isinstance(m, Neuron) for buffer, _ in m.named_buffers()}
    missing = sorted(set(own) - set(tensors) - {name.lstrip(".") for name in constants})
    unknown = sorted(set(tensors) - set(own))
    shapes = [f"{n} {list(tensors[n].shape)} for {list(own[n].shape)}" for n in tensors if n in own and tensors[n].shape != own[n].shape]
    if missing or unknown or shapes:
        found = f"missing {missing[:4]}, unknown {unknown[:4]}, other shapes {shapes[:4]}"
        raise DataError(f"weights: {path} does not fit the network: {found}")
    module.load_state_dict({**own, **{name: value.to(own[name].dtype) for name, value in tensors.items()}})
