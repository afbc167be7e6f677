"""What has to be measured in a process of its own: peak memory, and the first use of a neuron."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from spikeloom.core.errors import SpikeloomError


class ChildFailed(SpikeloomError):
    """A measuring process ended with an error."""


def run(task: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `task` found in a fresh process. Raises ChildFailed with the process's last words."""
    words = [sys.executable, "-m", __name__, json.dumps(task)]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})})
    if answer.returncode:
        raise ChildFailed(f"the process that measures {task['task']} failed: {(answer.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(answer.stdout.splitlines()[-1])


def first_use(neuron: str, dtype: str) -> dict[str, float]:
    """Seconds of the first forward and backward of `neuron` in a process: with an empty kernel cache, and with a filled one."""
    with tempfile.TemporaryDirectory(prefix="spikeloom-bench-") as folder:
        task = {"task": "first_use", "neuron": neuron, "dtype": dtype}
        return {when: run(task, {"SPIKELOOM_CACHE": folder})["seconds"] for when in ("fresh", "cached")}


def _first_use(task: Mapping[str, Any]) -> dict[str, float]:
    from spikeloom.bench import gate, neuron

    dtype = neuron.DTYPES[task["dtype"]]
    kind = neuron.load(task["neuron"]).to(dtype if task["dtype"] == "float64" else None)
    x = gate.drive(*neuron.TINY).to(dtype).requires_grad_()
    start = time.perf_counter()
    kind(x).sum().backward()
    return {"seconds": time.perf_counter() - start}


def _peak(task: Mapping[str, Any]) -> dict[str, int]:
    import torch

    from spikeloom import tune_allocator
    from spikeloom.bench import network
    from spikeloom.bench.memory import peak_bytes

    if task["malloc"] == "tuned":
        tune_allocator()
    torch.set_num_threads(task["threads"])
    device = torch.device(task["device"])
    given = task["options"]
    problem = network.Problem(network.Options(**{**given, "channels": tuple(given["channels"])}), device)
    problem.step(task["impl"], 1)()  # compiles, and loads what a first step loads
    step = problem.step(task["impl"])
    return {"bytes": peak_bytes(lambda: (step(), step()), device)}


def _relpsp(task: Mapping[str, Any]) -> dict[str, int]:
    import torch

    from spikeloom import tune_allocator
    from spikeloom.bench import relpsp
    from spikeloom.bench.memory import peak_bytes

    if task["malloc"] == "tuned":
        tune_allocator()
    torch.set_num_threads(task["threads"])
    relpsp.Problem("3-2", 1, 1.0).step(task["impl"])()  # compiles, and loads what a first step loads
    step = relpsp.Problem(task["shape"], task["batch"], task["active"]).step(task["impl"])
    return {"bytes": peak_bytes(lambda: (step(), step()), torch.device("cpu"))}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps({"first_use": _first_use, "peak": _peak, "relpsp": _relpsp}[asked["task"]](asked)))
