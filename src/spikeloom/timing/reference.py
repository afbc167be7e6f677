"""ReL-PSP in torch, by the closed form over every candidate causal set; what the kernel is held against, and runs without a compiler."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikeloom.timing.wiring import Wiring

ENTRIES = 2**22  # of the largest tensor of a chunk


def forward(t: Tensor, weight: Tensor, wiring: Wiring, threshold: float, until: float) -> tuple[Tensor, Tensor]:
    """As the kernel's. Computes in float64: prefix sums cancel."""
    rows, wide = wiring.rows(t).double(), weight.double()
    found = [_fire(chunk, wide, threshold, until, t.dtype) for chunk in rows.split(_rows_at_once(weight))]
    out, slope = (torch.cat(parts).view(len(t), wiring.places, -1) for parts in zip(*found, strict=True))
    return out, slope


def _fire(t: Tensor, weight: Tensor, threshold: float, until: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    t, order = t.sort(dim=1)  # [rows, taps]
    first = t[:, :1].where(t[:, :1].isfinite(), 0.0)
    t = (t - first).unsqueeze(2)
    w = weight.t()[order].masked_fill(t.isinf(), 0.0)  # [rows, taps, outs]
    total = w.cumsum(1)
    candidate = (threshold + (w * t.masked_fill(t.isinf(), 0.0)).cumsum(1)) / total
    following = torch.cat([t[:, 1:], t.new_full((len(t), 1, 1), math.inf)], 1)
    fits = (total > 0) & (candidate > t) & (candidate <= following) & (candidate + first.unsqueeze(2) <= until)
    # no input before that: the candidate of an earlier set lies where it holds
    k = fits.to(torch.uint8).argmax(1, keepdim=True)
    fires = fits.gather(1, k).squeeze(1)
    out = (candidate.gather(1, k).squeeze(1) + first).masked_fill(~fires, math.inf).to(dtype)
    last = (t.expand_as(w).gather(1, k).squeeze(1) + first).to(dtype)
    out = torch.where(out > last, out, torch.nextafter(last, out.new_tensor(math.inf)))
    return out, total.gather(1, k).squeeze(1).masked_fill(~fires, 0.0).to(dtype)


def backward(
    t: Tensor, weight: Tensor, wiring: Wiring, push: float, grad: Tensor, out: Tensor, slope: Tensor, times: bool
) -> tuple[Tensor | None, Tensor]:
    """As the kernel's."""
    rows, gw = wiring.rows(t), torch.zeros_like(weight)
    fired = out.isfinite()
    share = torch.where(fired, grad / slope, 0.0).flatten(0, 1)  # [rows, outs]
    pulled = ((~fired).to(t.dtype) * -push).flatten(0, 1)
    parts = []
    for r, s, p, o in zip(*(x.split(_rows_at_once(weight)) for x in (rows, share, pulled, out.flatten(0, 1))), strict=True):
        arrived = r.isfinite().unsqueeze(1)
        before = (r.unsqueeze(1) < o.unsqueeze(2)) & arrived  # [rows, outs, taps]
        distance = (r.unsqueeze(1) - o.unsqueeze(2)).where(before & o.isfinite().unsqueeze(2), 0.0)
        gw += (s.unsqueeze(2) * distance + p.unsqueeze(2) * arrived).sum(0)
        parts.append(((s.unsqueeze(2) * weight) * before).sum(1))
    if not times:
        return None, gw
    taps = torch.cat(parts).view(len(t), -1)
    gt = t.new_zeros(len(t), wiring.inputs + 1).index_add_(1, wiring.sources.flatten().to(t.device), taps)
    return gt[:, : wiring.inputs].contiguous(), gw


def _rows_at_once(weight: Tensor) -> int:
    return max(1, ENTRIES // max(weight.numel(), 1))
