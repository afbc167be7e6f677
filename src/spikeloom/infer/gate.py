"""Spiking max pools: on plain spikes by a kernel of their own, on anything else as torch does."""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine.bits import WORD, Bits
from spikeloom.infer.stages import Stage, State, two
from spikeloom.infer.values import Events, Value, dense, packed
from spikeloom.nn.pool import SpikingMaxPool2d

ALONE = 1 << 14  # words of the input below which one thread does it all


class Counts(NamedTuple):
    """Spikes so far, int32 `[B, H, W, words, 64]`."""

    of: Tensor

    def plain(self, channels: int) -> tuple[Tensor, ...]:
        """The pool's own state: `[B, C, H, W]`."""
        return (self.of.flatten(3)[..., :channels].movedim(-1, 1).float(),)


class Gate(Stage):
    """A `SpikingMaxPool2d`."""

    def __init__(self, inputs: tuple[str, ...], module: SpikingMaxPool2d) -> None:
        super().__init__(inputs)
        self.module = module

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        (value,) = values
        fits = isinstance(value, Events) and not value.flat and value.scale == 1 and value.bits.planes == 1 and not value.bits.signed
        plain = self.module.window["dilation"] in (1, (1, 1)) and not self.module.window["ceil_mode"]
        if fits and plain and (state is None or isinstance(state, Counts)):
            found = self._bits(value.bits, steps, state)  # type: ignore[union-attr]
            if found is not None:
                self.reason = ""
                return found
        self.reason = "dilated windows or ceil_mode" if fits and not plain else "its input is no plain spikes"
        x = dense(value, steps)
        y, after = self.module._gate(x, steps, state.plain(x.shape[1]) if isinstance(state, Counts) else state)
        return packed(y), after

    def _bits(self, bits: Bits, steps: int, state: Counts | None) -> tuple[Value, State] | None:
        try:
            kernel = _kernel()
        except compiled.CannotCompile:
            return None
        window = self.module.window
        kernel_size, padding = two(window["kernel_size"]), two(window["padding"])
        stride = kernel_size if window["stride"] is None else two(window["stride"])
        rows, channels, *size = bits.shape
        out = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, padding, kernel_size, stride, strict=True)]
        if min(out) < 1:
            return None
        words = bits.words.contiguous()
        if state is None:
            state = Counts(torch.zeros([rows // steps, *size, words.shape[-1], WORD], dtype=torch.int32))
        made = torch.empty([1, rows, *out, words.shape[-1]], dtype=torch.int64)
        threads = torch.get_num_threads() if words.numel() >= ALONE else 1
        facts = (threads, steps, rows // steps, *size, words.shape[-1], *out, *kernel_size, *stride, *padding)
        kernel(_pack(*facts, self.module.passes == "increase", words.data_ptr(), made.data_ptr(), state.of.data_ptr()))
        return Events(Bits(made, channels)), state


@cache
def _kernel() -> Any:
    return compiled.function(resources.files(__package__).joinpath("gate.cpp").read_text(), "run")


_pack = struct.Struct("18q").pack
