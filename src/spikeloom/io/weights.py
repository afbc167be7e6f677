"""Weights in and out: safetensors, and the `.npz` files that other authors publish. Never pickle."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from spikeloom.core.errors import DataError, refusal
from spikeloom.core.params import Choice
from spikeloom.neurons import Neuron

MISSING = Choice(("refused", "kept"), "a weight that the file does not have")


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


def load(module: nn.Module, path: Path, missing: str = "refused") -> list[str]:
    """Fill `module` from `path`; fixed neuron constants may be absent (the configuration has them).

    missing: `"refused"`, or `"kept"`: what the file does not have stays as it is. Returns the names of what stayed.
    Raises DataError when a weight is missing and refused, unknown or of another shape, and when nothing fits.
    """
    MISSING.check("weights missing", missing)
    tensors, own = read(path), module.state_dict()
    constants = {f"{name}.{buffer}" for name, m in module.named_modules() if isinstance(m, Neuron) for buffer, _ in m.named_buffers()}
    absent = sorted(set(own) - set(tensors) - {name.lstrip(".") for name in constants})
    unknown = sorted(set(tensors) - set(own))
    shapes = [f"{n} {list(tensors[n].shape)} for {list(own[n].shape)}" for n in tensors if n in own and tensors[n].shape != own[n].shape]
    if unknown or shapes or (absent and (missing == "refused" or not tensors)):
        found = f"missing {absent[:4]}, unknown {unknown[:4]}, other shapes {shapes[:4]}"
        raise DataError(f"weights: {path} does not fit the network: {found}")
    module.load_state_dict({**own, **{name: value.to(own[name].dtype) for name, value in tensors.items()}})
    return absent
