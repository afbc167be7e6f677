"""A run record with everything in it, made up but plausible, and small pictures written by hand."""

from __future__ import annotations

import base64
import math
import random
import struct
import zlib
from html.parser import HTMLParser
from typing import Any

import pytest

from spikeloom import report

CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
PAPER = {
    "key": "feng2022mlf",
    "title": "Multi-Level Firing with Spiking DS-ResNet",
    "authors": "Feng, Lang and Liu, Qianhui",
    "venue": "IJCAI",
    "year": 2022,
    "url": "https://arxiv.org/abs/2210.06386",
}


def picture(side: int = 28) -> str:
    """A grey PNG of a blurred boot-like blob as a data URI."""
    rows = b""
    for y in range(side):
        inside = [math.exp(-(((x - 14) / (5 + y / 4)) ** 4) - ((y - 15) / 11) ** 6) for x in range(side)]
        rows += b"\0" + bytes(int(220 * value * (0.8 + 0.2 * math.sin(x * y / 9))) for x, value in enumerate(inside))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def shown_layer(name: str, steps: int, levels: int, draw: random.Random, neurons: int = 48) -> dict[str, Any]:
    """Spikes and membranes of leaky neurons with `levels` thresholds under a noisy drive."""
    thresholds = [0.6 + k for k in range(levels)]
    spikes, traces = [], []
    for neuron in range(neurons):
        drive, v, membrane = draw.gauss(0.4, 0.9), [0.0] * levels, []
        for step in range(steps):
            u = [0.25 * value + drive + draw.gauss(0, 0.4) * (step > 0) for value in v]
            fired = [value > threshold for value, threshold in zip(u, thresholds, strict=True)]
            v = [0.0 if s else value for value, s in zip(u, fired, strict=True)]
            membrane.append(u)
            if any(fired):
                spikes.append([step, neuron, sum(fired)])
        if neuron in (5, 23):
            traces.append({"neuron": neuron, "membrane": membrane, "threshold": thresholds})
    return {"name": name, "kind": "MLF", "spikes": spikes, "neurons": neurons, "traces": traces}


def epochs_of(count: int, top: float, draw: random.Random) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(count):
        rise = 1 - math.exp(-(epoch + 1.2) / 2.2)
        accuracy = top * rise + draw.gauss(0, 0.012) * (epoch > 4)
        rows.append({
            "epoch": epoch, "train_loss": 1.1 - top + 1.6 * math.exp(-epoch / 2), "train_accuracy": (top + 0.02) * rise,
            "val_loss": 1.2 - top + 1.4 * math.exp(-epoch / 2), "val_accuracy": accuracy + draw.gauss(0, 0.006),
            "test_accuracy": accuracy - 0.003,
            "lr": 0.1 * 0.5 ** (epoch // 3), "seconds": 61.0,
        })  # fmt: skip
    return rows


def build(
    levels: int = 3, steps: int = 4, depth: int = 9, top: float = 0.89, epochs: int = 10, seed: int = 0, **changes: Any
) -> dict[str, Any]:
    """A complete record; `changes` replace top-level fields."""
    draw = random.Random(seed)
    history = epochs_of(epochs, top, draw)
    best_on_validation = max(range(epochs), key=lambda i: history[i]["val_accuracy"])
    test = [row["test_accuracy"] for row in history]
    names = ["stem.neuron", *(f"blocks.{b}.neuron{n}" for b in range(depth // 2) for n in (1, 2))]
    operations = [
        {"name": name.replace("neuron", "conv"), "kind": "Conv2d", "macs": macs,
         "acs": 0 if i == 0 else macs * steps * draw.uniform(0.12, 0.35), "analog_macs": macs * steps if i == 0 else 0}
        for i, name in enumerate(names)
        for macs in [112_896 if i == 0 else 1_806_336]
    ]  # fmt: skip
    operations.append({"name": "head", "kind": "Linear", "macs": 640, "acs": 540.0, "analog_macs": 0})
    total = {key: sum(row[key] for row in operations) for key in ("macs", "acs", "analog_macs")}
    shown = [names[0], names[len(names) // 2], names[-1]]
    return {
        "schema": 1, "recipe": "mlf-dsresnet-fashion", "overrides": {"levels": levels} if levels != 3 else {},
        "title": "Multi-level firing in a spiking DS-ResNet", "paper": PAPER,
        "claim": {"metric": "top-1 accuracy, CIFAR-10", "value": 0.9137, "where": "released training log", "tag": "L"},
        "versions": {"spikeloom": "0.1.0", "torch": "2.13.0", "python": "3.11.2", "lightning": "2.6"},
        "machine": {"cpu": "x86-64", "threads": 2, "device": "cpu"}, "seed": seed, "params": 272_395, "steps": steps,
        "neuron": f"MLF(levels={levels})", "encoder": "Direct",
        "data": {"name": "Fashion-MNIST", "train": 54_000, "validation": 6_000, "test": 10_000, "classes": CLASSES},
        "training": {"epochs": epochs, "batch": 128, "optimiser": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4,
                     "schedule": "cosine", "loss": "cross entropy of the mean output", "workers": None},
        "accuracy": {"last": test[-1], "best": max(test), "validated": test[best_on_validation], "test": test[best_on_validation]},
        "picked_epoch": best_on_validation, "epochs": history,
        "accuracy_by_step": [max(test) * (1 - 0.35 * math.exp(-1.1 * t)) for t in range(steps)],
        "layers": [
            {"name": name, "kind": "MLF", "neurons": 12_544 >> (i // 3), "rate": 0.12 + 0.3 * draw.random(), "silent": 0.45 * draw.random(),
             "saturated": 0.04 * draw.random(), "dormant": 0.25 * draw.random(), "max_level": levels}
            for i, name in enumerate(names)
        ],
        "operations": operations, "synops_per_image": total["acs"],
        "energy_uJ": (4.6 * total["analog_macs"] + 0.9 * total["acs"]) / 1e6, "ann_energy_uJ": 4.6 * total["macs"] / 1e6,
        "energy_formula": "E = 4.6 pJ * MACs(analog input) + 0.9 pJ * ACs, 45 nm, 32-bit float",
        "samples": [
            {"image": picture(), "label": label, "prediction": guess, "layers": [shown_layer(name, steps, levels, draw) for name in shown]}
            for label, guess in ((9, 9), (4, 4), (6, 2))
        ],
        "failure": None, "seconds": 634.0, **changes,
    }  # fmt: skip


def converted(steps: int = 64, depth: int = 5, seed: int = 3, **changes: Any) -> dict[str, Any]:
    """A complete record of a conversion.

    Accuracy rises by 1.5 points per step to 98%, the ANN's is 98.5%; 99% of that (97.515%) is reached at t = 32.
    `changes` replace fields of the conversion object.
    """
    record = build(levels=1, steps=steps, depth=depth, epochs=1, seed=seed)
    nodes = [layer["name"] for layer in record["layers"]]
    for place, layer in enumerate(record["layers"]):
        layer |= {"scale": 1.5 + place / 2, "relative_error": [(0.5 + place / 10) / t for t in range(1, steps + 1)], "dormant": None}
    record["accuracy"] = {"last": None, "best": None, "validated": None, "test": 0.98}
    record |= {"recipe": "diehl2015-data", "title": "A converted convolutional network", "overrides": {}, "epochs": [], "claim": None}
    record["paper"] = {**PAPER, "key": "diehl2015", "authors": "Diehl, Peter U. and Neil, Daniel and Binas, Jonathan", "year": 2015}
    record["accuracy_by_step"] = [0.5 + 0.015 * t if t < 32 else 0.98 for t in range(1, steps + 1)]
    share = [t / steps for t in range(1, steps + 1)]
    record["conversion"] = {
        "method": "diehl2015-data", "input": "poisson", "model": "diehl2015-cnn", "options": {"percentile": 99.9, "reset": "subtract"},
        "ann_accuracy": 0.985, "target": 0.99, "steps_to_target": 32 if steps >= 32 else None,
        "ledger": [
            {"pass": "fold_norms", "nodes": ["stem.conv", "head"], "scale": None, "error": 0.0},
            {"pass": "normalise", "nodes": nodes, "scale": {nodes[0]: 1.5, nodes[1]: [0.25, 3.75, 2.0]}, "error": 1.25e-6},
            {"pass": "spike", "nodes": nodes[:1], "scale": None, "error": None},
        ],
        "synops": [record["synops_per_image"] * part for part in share], "energy_uJ": [record["energy_uJ"] * part for part in share],
        "early_exit": [
            {"confidence": 0.9, "accuracy": 0.97, "mean_steps": 11.25}, {"confidence": 0.99, "accuracy": 0.978, "mean_steps": 20.5},
        ],
        **changes,
    }  # fmt: skip
    return record


def comparable() -> list[dict[str, Any]]:
    """Three levels, two levels, and a shallower single-level run that is expected to fail."""
    return [
        build(),
        build(levels=2, top=0.875, seed=1),
        build(levels=1, top=0.71, depth=5, seed=2, failure="One level: the window of the surrogate leaves most neurons dormant."),
    ]


@pytest.fixture
def record() -> dict[str, Any]:
    return build()


@pytest.fixture
def runs() -> list[dict[str, Any]]:
    return comparable()


@pytest.fixture
def bare() -> dict[str, Any]:
    """The least that is a record."""
    return {"schema": 1, "recipe": "bare", "params": 12, "steps": 1, "accuracy": {}}


@pytest.fixture
def conversion() -> dict[str, Any]:
    return converted()


@pytest.fixture
def conversions() -> list[dict[str, Any]]:
    """T = 64, T = 128 from a better ANN by another method, and a trained network of T = 4."""
    other = converted(128, method="rate-max", ann_accuracy=0.99, target=None, steps_to_target=None)
    return [{**record, "samples": []} for record in (converted(), other, build())]


@pytest.fixture(scope="session")
def converted_page() -> str:
    return report.page(converted())


@pytest.fixture(scope="session")
def page() -> str:
    return report.page(build())


@pytest.fixture(scope="session")
def comparison() -> str:
    return report.comparison(comparable())


class Outline(HTMLParser):
    """What a test asks of a page: ids, attributes that load something, text, and whether every tag is closed."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.charts: list[str] = []
        self.links: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.charts += [given["id"]] if tag == "figure" and given.get("class") == "chart" else []
        self.links += [(tag, key, given[key]) for key in ("src", "href", "srcset", "data", "poster", "action") if key in given]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def outline() -> type[Outline]:
    return Outline
