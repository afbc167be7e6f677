"""What a trained network reaches and costs, measured on test images."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikeloom import data, measure
from spikeloom.data.events import picture
from spikeloom.io import weights
from spikeloom.neurons import Neuron
from spikeloom.timing import TimingLayer
from spikeloom.train import record
from spikeloom.train.learner import Learner
from spikeloom.train.run import Run, build

PROBED, SHOWN = 256, 3


def evaluate(run: Run, weights_file: Path, data_dir: str | None = None, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Accuracy and cost of weights from a file in the run's network, on the whole test set. See docs/record.md for the keys."""
    images = data.load(run.data.name, data_dir, run.data.frames, run.steps)
    learner = Learner(run, build(run), images.mean, images.std, len(images.classes))
    weights.load(learner.snn.net, weights_file)
    found = measured(run, learner, images)
    accuracy = {"last": None, "best": None, "validated": None, "test": found.pop("test_accuracy")}
    params = sum(p.numel() for p in learner.parameters())
    head = record.describe(run, overrides or {})
    return {**head, "params": params, "accuracy": accuracy, "weights": weights_file.name, "epochs": [], **found}


def measured(run: Run, learner: Learner, images: data.ImageSet) -> dict[str, Any]:
    """Test accuracy (also by step), layers' activity, operations, energy and samples of the learner's network as it is."""
    learner.eval().to(_device(run))
    by_step = accuracy_by_step(learner, images, 2 * run.training.batch)
    torch.manual_seed(run.training.seed)
    snn, count = learner.snn, min(PROBED, len(images.test_images))
    probed = torch.from_numpy(np.array(images.test_images[:count])).to(learner.device)
    rows = measure.operations(snn, learner.prepare(probed))
    kept = run.data.validation or images.validation
    return {
        "test_accuracy": by_step[-1], "accuracy_by_step": by_step,
        "layers": measure.activity(snn, map(learner.prepare, probed.split(32))), "operations": rows, **measure.energy(rows),
        "neuron": next((str(m) for m in snn.net.modules() if isinstance(m, (Neuron, TimingLayer))), "none"),
        "samples": [_sample(learner, images, i) for i in range(min(SHOWN, count))], "probed_images": count,
        "data": {
            "name": images.name, "train": len(images.train_images) - kept, "validation": kept, "test": len(images.test_images),
            "classes": list(images.classes), "fingerprint": images.fingerprint,
        },
    }  # fmt: skip


@torch.no_grad()
def accuracy_by_step(learner: Learner, images: data.ImageSet, batch: int) -> list[float]:
    """Test accuracy of the mean output over the first 1 ... T steps."""
    torch.manual_seed(learner.run.training.seed)
    precision = learner.run.training.precision
    half = torch.bfloat16 if "bf16" in precision else torch.float16
    batches = data.Batches(images.test_images, images.test_labels, batch=batch, shuffle="none")
    with torch.autocast(learner.device.type, half, enabled="mixed" in precision):
        return measure.accuracy(learner.snn, ((learner.prepare(x.to(learner.device)), labels) for x, labels in batches)).by_step


def _device(run: Run) -> torch.device:
    usable = torch.cuda.is_available() and run.training.accelerator in ("auto", "gpu", "cuda")
    return torch.device("cuda" if usable else "cpu")


def _sample(learner: Learner, images: data.ImageSet, index: int) -> dict[str, Any]:
    pixels = np.array(images.test_images[index : index + 1])
    shown = measure.sample(learner.snn, learner.prepare(torch.from_numpy(pixels).to(learner.device)))
    return {"image": png(pixels[0]), "label": int(images.test_labels[index]), **shown}


def png(pixels: np.ndarray) -> str:
    """uint8 `[C, H, W]`, or the sum of frames `[T, 2, H, W]`, as a data URI."""
    from PIL import Image

    pixels = picture(pixels) if pixels.ndim == 4 else pixels
    file = io.BytesIO()
    Image.fromarray(pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
