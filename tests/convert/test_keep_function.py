"""Any positive rescaling keeps a ReLU network's function: random networks through the passes, and the graph's text after each."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

GOLDEN = Path(__file__).parent / "golden"


def _unit(draw, convert, c, act):
    """One piece of a network with c channels in and out at the same size."""
    kind = draw(
        st.sampled_from(["conv", "depthwise", "grouped", "transposed", "norm", "act", "residual", "cross", "concat", "pool", "average"])
    )
    bias = draw(st.booleans())
    if kind == "conv":
        return nn.Conv2d(c, c, 3, padding=1, bias=bias)
    if kind in ("depthwise", "grouped"):
        return nn.Conv2d(c, c, 3, padding=1, groups=c if kind == "depthwise" else 2, bias=bias)
    if kind == "transposed":
        return nn.ConvTranspose2d(c, c, 3, padding=1, groups=draw(st.sampled_from([1, 2])), bias=bias)
    if kind == "norm":
        return nn.BatchNorm2d(c, affine=bias)
    if kind == "act":
        return (
            act if bias else draw(st.sampled_from([nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.Hardtanh(0.0, 1.5), nn.ReLU(inplace=True)]))
        )
    if kind in ("pool", "average"):
        return nn.MaxPool2d(3, 1, 1) if kind == "pool" else nn.AvgPool2d(3, 1, 1)
    body = nn.Sequential(*(_unit(draw, convert, c, act) for _ in range(draw(st.integers(1, 3)))))
    if kind == "concat":
        return nn.Sequential(convert.Concat(body), nn.BatchNorm2d(2 * c) if bias else nn.Identity(), nn.ReLU(), nn.Conv2d(2 * c, c, 1))
    return convert.Residual(body, act, nn.Sequential(nn.Conv2d(c, c, 1), nn.BatchNorm2d(c)) if kind == "cross" else None)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_every_pass_keeps_the_function_under_random_positive_scales(convert, float64, data, seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    c = data.draw(st.sampled_from([2, 4]))
    act = nn.ReLU(inplace=data.draw(st.booleans()))
    units = [_unit(data.draw, convert, c, act) for _ in range(data.draw(st.integers(1, 5)))]
    head = [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(4 * c, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)]
    model = convert.norms(nn.Sequential(nn.Conv2d(3, c, 3, padding=1), *units, *head))
    x = torch.randn(3, 3, 4, 4, generator=generator)
    with torch.no_grad():
        wanted = model(x.clone())
        for name, net in convert.stages(model, x, generator):
            assert convert.relative(net.module(x), wanted) <= 1e-12, (name, model)


@pytest.mark.parametrize("name", ["chain", "residual", "concat", "shared"])
def test_the_text_of_the_graph_after_each_pass(name, convert):
    """A guard of changes. To write the files anew: SPIKELOOM_GOLDEN=1 python -m pytest tests/convert/test_keep_function.py"""
    parts = []
    for stage, net in convert.stages(convert.tiny(name), torch.randn(2, 2, 4, 4)):
        parts.append(f"== {stage}")
        for node in net.nodes:
            module = net.of(node)
            what = repr(module) if module is not None else getattr(node.target, "__name__", node.target)
            parts.append(f"{node.name} = {what} ({', '.join(source.name for source in node.all_input_nodes)})")
    file, text = GOLDEN / f"{name}.txt", "\n".join(parts) + "\n"
    if os.environ.get("SPIKELOOM_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()
