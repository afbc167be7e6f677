"""`import spikeloom` brings in torch, numpy and nothing else."""

import subprocess
import sys

LOADED = "import sys; {}; print(*{{name.partition('.')[0] for name in sys.modules}} - sys.stdlib_module_names)"


def loaded(statement: str) -> set[str]:
    """Top-level modules outside the standard library after `statement` in a fresh interpreter."""
    answer = subprocess.run([sys.executable, "-c", LOADED.format(statement)], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_importing_brings_in_torch_and_numpy_only():
    assert loaded("import torch, numpy, spikeloom") - loaded("import torch, numpy") == {"spikeloom"}


def test_the_public_names_bring_in_nothing_either():
    statement = "from spikeloom import SNN, LIF, blocks, encoders, losses, models, norms, surrogates, testing"
    heavy = {"lightning", "torchmetrics", "pyarrow", "PIL", "sklearn", "matplotlib", "rich", "safetensors", "huggingface_hub", "triton"}
    assert not loaded(statement) & heavy
