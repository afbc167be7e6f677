"""Bytes kept for the backward pass, counted by hand."""

import subprocess
import sys

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from spikeloom.bench.memory import saved_bytes

N = 1000


@pytest.mark.parametrize(
    ("function", "bytes_per_element"),
    [
        (torch.sigmoid, 4),  # its output
        (lambda x: x * x, 4),  # x, twice
        (lambda x: x * 3.0, 0),  # the factor is a number
        (lambda x: x + x, 0),
        (lambda x: x.sigmoid().sigmoid(), 8),
        (lambda x: x.view(10, 100).tanh().view(-1), 4),
        (lambda x: sum(part * part for part in x.split(100)), 4),  # ten views of one storage
        (lambda x: x.exp() * x, 8),  # exp keeps its output, which the product keeps too; and x
        (lambda x: x.detach().sigmoid(), 0),
    ],
)
def test_every_storage_is_counted_once(function, bytes_per_element):
    x = torch.randn(N, requires_grad=True)
    assert saved_bytes(lambda: function(x)) == bytes_per_element * N


def test_what_a_dropped_graph_saved_is_not_counted():
    x = torch.randn(N, requires_grad=True)

    def forward():
        x.sigmoid().sum()  # nobody keeps this graph
        return x.tanh()

    assert saved_bytes(forward) == 4 * N


def test_parameters_are_left_out():
    layer = torch.nn.Linear(8, 8)
    x = torch.randn(5, 8, requires_grad=True)
    assert saved_bytes(lambda: layer(x), without=layer.parameters()) == 5 * 8 * 4
    assert saved_bytes(lambda: layer(x)) == 5 * 8 * 4 + 8 * 8 * 4


def test_hooks_that_pack_are_seen_and_still_work():
    x = torch.full((N,), 3.0, requires_grad=True)

    class Small:
        def __init__(self, tensor):
            self.code = tensor.to(torch.uint8)

    def forward():
        with saved_tensors_hooks(Small, lambda small: small.code.float()):
            return x * x

    plain = saved_tensors_hooks.__enter__
    assert saved_bytes(forward) == 2 * N  # both factors, a byte each
    assert saved_tensors_hooks.__enter__ is plain
    forward().sum().backward()
    assert torch.equal(x.grad, torch.full((N,), 6.0))


def test_an_autograd_function_is_seen():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x, x.double())
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad

    x = torch.randn(N, requires_grad=True)
    assert saved_bytes(lambda: Twice.apply(x)) == (4 + 8) * N


def test_the_peak_is_the_rise_during_the_run_not_what_was_there_before():
    code = """
import torch
from spikeloom.bench.memory import peak_bytes
before = bytearray(b"x") * (96 << 20)
def run():
    held = bytearray(b"x") * (64 << 20)
print(peak_bytes(run, torch.device("cpu")))
"""
    found = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 63 << 20 < found < 80 << 20
