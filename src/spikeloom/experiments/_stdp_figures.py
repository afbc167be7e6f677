"""The pictures of `stdp`: receptive fields, accuracy while learning, one image's spikes, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from spikeloom.plasticity import fields
from spikeloom.train.evaluate import png

BINS = 40


def drawn(
    recipe: Any, results: Mapping[str, Any], learning: Sequence[Mapping[str, Any]], state: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """Figures of what is done so far, as docs/record.md describes them."""
    found = []
    side = math.isqrt(len(state["weights"]))
    if side * side == len(state["weights"]):
        picture = png(fields(state["weights"], side).numpy()[None])
        caption = f"What each of the {recipe.neurons} neurons listens to: its {side} x {side} weights, dark is strong."
        found.append({"kind": "image", "title": "Receptive fields", "caption": caption, "src": picture, "alt": "grid of receptive fields"})
    curve = [point for row in learning for point in row["curve"]]
    if curve:
        x, y = zip(*curve, strict=True)
        caption = "Training images while they are learned; neurons are named by the images just before, so that the curve lags behind."
        series = [{"name": "training images", "x": list(x), "y": list(y)}]
        found.append({
            "kind": "lines", "title": "Accuracy against images seen", "caption": caption, "x_label": "images", "y_label": "accuracy",
            "x_scale": "linear", "y_scale": "linear", "series": series,
        })  # fmt: skip
    counts, edges = np.histogram(state["theta"].numpy(), BINS)
    bars = [{"name": "theta", "edges": edges.tolist(), "counts": counts.tolist()}]
    caption = "Every spike raises its neuron's threshold, so that no neuron wins for ever."
    found.append({"kind": "histogram", "title": "Adaptive thresholds", "caption": caption, "x_label": "theta, mV", "series": bars})
    if "test" in results:
        sizes = {"input": len(state["weights"]), "excitatory": recipe.neurons, "inhibitory": recipe.neurons}
        groups = [{"name": name, "neurons": sizes[name], "points": points} for name, points in results["test"]["raster"].items()]
        caption = "The first test image, shown once without plasticity."
        found.append({"kind": "raster", "title": "Spikes of one image", "caption": caption, "x_label": "time, ms", "groups": groups})
    return found
