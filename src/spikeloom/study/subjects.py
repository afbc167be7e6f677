"""What is converted: a trained network as it is named on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from spikeloom import models, recipes
from spikeloom.convert import files
from spikeloom.core.errors import RecipeError, refusal
from spikeloom.core.params import nearest
from spikeloom.io import weights, zoo
from spikeloom.train import experiment, record
from spikeloom.train.keeper import WEIGHTS
from spikeloom.train.run import build


@dataclass(frozen=True)
class Subject:
    """A trained network as it is named on the command line. pixels: `"raw"`, in [0, 1], or `"standardised"`, as it was trained.

    overrides: what its run had changed in the recipe.
    """

    name: str
    net: nn.Module
    pixels: str
    weights: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


def subject(what: str, weights_file: Path | None = None, pixels: str | None = None) -> Subject:
    """The network `what`: a run folder, a recipe, a model's name, a name of the zoo, or a file (`.pt2` of torch.export, `.onnx`).

    Raises RecipeError for an unknown name and for a recipe without weights.
    """
    path, kind, changed = Path(what), "raw", {}
    if path.suffix in (".pt2", ".onnx"):
        net: nn.Module = (files.load_exported if path.suffix == ".pt2" else files.load_onnx)(path)
        return Subject(path.stem, net, pixels or kind, path.name)
    if path.is_dir():
        old = record.read(path)
        changed = old["overrides"]
        run = recipes.load(old["recipe"], changed)
        weights_file = weights_file or path / WEIGHTS
    elif weights_file is None and what in (kept := zoo.cards()):
        return Subject(what, zoo.load(what), pixels or kept[what].pixels, f"zoo, sha256 {kept[what].sha256[:12]}")
    elif what in recipes.known:
        run = recipes.load(what)
    elif (function := what.replace("-", "_")) in models.known:
        return Subject(what, _filled(what, models.known[function](), weights_file), pixels or kind, _place(weights_file))
    else:
        names = [*zoo.cards(), *recipes.known, *(name.replace("_", "-") for name in models.known)]
        raise RecipeError(f"convert: got {what!r}, neither a run folder, nor a .pt2 or .onnx file, nor a name; {nearest(what, names)}")
    experiment.refuse(run, "convert")
    snn = build(run)
    raw = snn.encoder is not None and snn.encoder.domain == "raw"
    net = _filled(what, snn.net, weights_file)
    return Subject(run.recipe, net, pixels or ("raw" if raw else "standardised"), _place(weights_file), changed)


def _place(weights_file: Path | None) -> str:
    """Name and folder of a file: enough to know it by, and nothing of the machine."""
    return "/".join(weights_file.absolute().parts[-2:]) if weights_file else "none"


def _filled(what: str, net: nn.Module, weights_file: Path | None) -> nn.Module:
    if weights_file is None:
        raise RecipeError(refusal("convert --weights", None, "a .safetensors or .npz file", f"{what!r} names a network without weights"))
    weights.load(net, weights_file)
    return net.eval()
