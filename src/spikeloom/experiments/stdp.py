"""Digits learned without labels: Diehl and Cook's network over a training set, then named, then tested."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom import data
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice
from spikeloom.io import weights
from spikeloom.measure.energy import E_AC_PJ, energy_of
from spikeloom.plasticity import Answers, Circuit, Network, assign, predict
from spikeloom.plasticity.labels import UNNAMED
from spikeloom.plasticity.network import NAMING
from spikeloom.train.experiment import Experiment

SLICE, WINDOW = 500, 2500  # images between two reports of progress; between two points of the curve
FORMULA = f"E = {E_AC_PJ} pJ x ACs: a spike is one AC at each of its synapses; the cells' own equations are not counted"
RESPONSES, NAMES = "responses.safetensors", "names.safetensors"
LABELS = Choice(("presentation", "responses"), "what names the neurons: training images shown again, or training itself")


@dataclass(frozen=True, kw_only=True)
class Stdp(Experiment):
    """Diehl and Cook's network. Every image is shown for 350 ms, with plasticity; labels come in only afterwards.

    labels: `"presentation"` names neurons by their answers to the first `label_images` training images, shown without plasticity, as the
    authors' evaluation does; `"responses"` by their answers to the last `chunk` images of training. chunk: images between two saved states.
    theta_plus: mV that a spike adds to its neuron's threshold.
    """

    neurons: int = 400
    passes: int = 1
    theta_plus: float = 0.05
    labels: str = "presentation"
    label_images: int = 10_000
    train_images: int = 60_000
    test_images: int = 10_000
    chunk: int = 10_000

    def __post_init__(self) -> None:
        LABELS.check(f"{self.recipe}.labels", self.labels)
        for name in ("neurons", "passes", "label_images", "train_images", "test_images", "chunk"):
            if getattr(self, name) < 1:
                raise ParameterError(refusal(f"{self.recipe}.{name}", getattr(self, name), "at least 1"))

    def parts(self) -> list[str]:
        return [*self._learning(), "labels", "test"]

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Callable[[float], None]) -> dict[str, Any]:
        images = data.load(self.data, data_dir)
        net = Network(self._circuit(images.train_images[0].size), self.seed)
        learning = self._learning()
        if part in learning:
            return self._learn(net, part, images, folder, advance)
        net.state = weights.read(folder / _file([*learning][-1]))
        return (self._name if part == "labels" else self._test)(net, images, folder, advance)

    def _circuit(self, inputs: int) -> Circuit:
        return Circuit(inputs=inputs, neurons=self.neurons, theta_plus=self.theta_plus)

    def _learning(self) -> dict[str, tuple[int, int, int]]:
        """Pass, first image and end by the name of the part."""
        starts = [(p, s) for p in range(self.passes) for s in range(0, self.train_images, self.chunk)]
        spans = [(p, s, min(s + self.chunk, self.train_images)) for p, s in starts]
        return {f"pass-{p + 1}-to-{end}": (p, first, end) for p, first, end in spans}

    def _learn(
        self, net: Network, part: str, images: data.ImageSet, folder: Path, advance: Callable[[float], None]
    ) -> dict[str, Any]:
        learning = self._learning()
        names, at = torch.full((self.neurons,), UNNAMED), [*learning].index(part)
        if at:
            saved = weights.read(folder / _file([*learning][at - 1]))
            names = saved.pop("names")
            net.state = saved
        number, first, end = learning[part]
        pixels, truth = _flat(images.train_images[first:end]), torch.from_numpy(np.array(images.train_labels[first:end]))
        curve, answers = [], []
        for start in range(0, end - first, WINDOW):
            window = slice(start, min(start + WINDOW, end - first))
            found = _shown(lambda x, f: net.learn(x, first + f, number), pixels, window, lambda done: advance(done / (end - first)))
            if (names != UNNAMED).any():
                right = predict(found.counts, names, len(images.classes)) == truth[window]
                curve.append([number * self.train_images + first + window.stop, right.double().mean().item()])
            names = assign(found.counts, truth[window], len(images.classes))
            answers.append(found)
        _write({**net.state, "names": names}, folder / _file(part))
        _write({"counts": torch.cat([a.counts for a in answers]).to(torch.int16), "labels": truth}, folder / RESPONSES)
        if at > 1:  # the state before the last is kept: a part that is killed starts from it
            (folder / _file([*learning][at - 2])).unlink(missing_ok=True)
        return {"curve": curve, "images": end - first, **_means(torch.cat([a.activity for a in answers]))}

    def _name(self, net: Network, images: data.ImageSet, folder: Path, advance: Callable[[float], None]) -> dict[str, Any]:
        if self.labels == "responses":
            saved = weights.read(folder / RESPONSES)
            counts, truth = saved["counts"], saved["labels"]
        else:
            pixels = _flat(images.train_images[: self.label_images])
            truth = torch.from_numpy(np.array(images.train_labels[: self.label_images]))
            whole = slice(0, len(pixels))
            counts = _shown(lambda x, f: net.respond(x, f, NAMING), pixels, whole, lambda done: advance(done / len(pixels))).counts
        names = assign(counts, truth, len(images.classes))
        _write({"names": names}, folder / NAMES)
        owned = torch.bincount(names[names != UNNAMED], minlength=len(images.classes))
        return {"images": len(truth), "neurons_of_class": owned.tolist(), "unnamed": int((names == UNNAMED).sum())}

    def _test(self, net: Network, images: data.ImageSet, folder: Path, advance: Callable[[float], None]) -> dict[str, Any]:
        pixels = _flat(images.test_images[: self.test_images])
        truth = torch.from_numpy(np.array(images.test_labels[: self.test_images]))
        found = _shown(net.respond, pixels, slice(0, len(pixels)), lambda done: advance(done / len(pixels)))
        names = weights.read(folder / NAMES)["names"]
        right = predict(found.counts, names, len(images.classes)) == truth
        spikes = net.watch(pixels[0])
        return {"accuracy": right.double().mean().item(), "images": len(truth), "raster": spikes, **_means(found.activity)}

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        from spikeloom.experiments._stdp_figures import drawn

        learning = [results[name] for name in self._learning() if name in results]
        state = weights.read(folder / _file([*self._learning()][len(learning) - 1]))
        inputs, seconds = len(state["weights"]), sum(row["seconds"] for row in learning)
        seen = sum(row["images"] for row in learning)
        found: dict[str, Any] = {"images_seen": seen, "seconds_of_training": seconds, "images_per_second": seen / seconds}
        summary: dict[str, Any] = {"params": inputs * self.neurons, "results": found}
        if "labels" in results:
            found["neurons_without_class"] = results["labels"]["unnamed"]
        if "test" in results:
            test = results["test"]
            synops = self.neurons * test["input"] + test["excitatory"] + (self.neurons - 1) * test["inhibitory"]
            found |= {"accuracy": test["accuracy"], "spikes_per_image": test["excitatory"], "input_spikes_per_image": test["input"]}
            found["showings_per_image"] = test["showings"]
            summary |= {
                "accuracy": {"test": test["accuracy"]}, "synops_per_image": synops, "energy_uJ": energy_of(synops, 0),
                "energy_formula": FORMULA,
            }  # fmt: skip
        return {**summary, "figures": drawn(self, results, learning, state)}


def _shown(show: Callable[[Tensor, int], Answers], pixels: Tensor, part: slice, told: Callable[[int], None]) -> Answers:
    """Answers to `pixels[part]`, a few images at a time."""
    found = []
    for start in range(part.start, part.stop, SLICE):
        found.append(show(pixels[start : min(start + SLICE, part.stop)], start))
        told(min(start + SLICE, part.stop))
    return Answers(*(torch.cat(field) for field in zip(*found, strict=True)))


def _means(activity: Tensor) -> dict[str, float]:
    return dict(zip(("input", "excitatory", "inhibitory", "showings"), activity.double().mean(0).tolist(), strict=True))


def _flat(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(images).reshape(len(images), -1))


def _file(part: str) -> str:
    return f"state-{part}.safetensors"


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, temporary)
    os.replace(temporary, path)
