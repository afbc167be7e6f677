"""Memory formats, storage dtypes, per-channel values, chunks, threads."""

import copy

import pytest
import torch
from against_reference import assert_close, assert_same, differentiated, fused, reference

from spikeloom import neurons
from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import dispatch

STEPS = 4
LEARNABLE = ("decay", "threshold")


def image(dtype=torch.float32, memory_format=torch.contiguous_format):
    """[T*B, C, H, W] = [4*3, 5, 4, 7]: 420 neurons."""
    x = torch.randn(STEPS * 3, 5, 4, 7, generator=torch.Generator().manual_seed(3)) * 1.5 + 0.5
    return x.to(dtype).to(memory_format=memory_format)


def per_channel(**options):
    return neurons.LIF(
        decay=torch.linspace(0.1, 0.9, 5), threshold=torch.linspace(0.3, 0.9, 5), learnable=LEARNABLE, surrogate="atan", **options
    )  # fmt: skip


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_per_channel_values_in_both_memory_formats(memory_format):
    x = image(torch.float64, memory_format)
    assert_same(per_channel().double(), x, STEPS, (torch.ones_like(x[:3]) / 4,), 1e-12)


def test_per_channel_and_common_values_together():
    neuron = neurons.LIF(decay=[0.1, 0.2, 0.3, 0.4, 0.5], learnable=LEARNABLE).double()
    assert_same(neuron, image(torch.float64, torch.channels_last), STEPS, (torch.zeros(3, 5, 4, 7, dtype=torch.float64),), 1e-12)


@pytest.mark.parametrize("shape", [(STEPS * 3, 5), (STEPS * 3, 5, 6), (STEPS * 3, 5, 2, 3, 4)], ids=str)
def test_per_channel_values_of_any_rank(shape):
    x = torch.randn(shape, dtype=torch.float64)
    assert_same(per_channel().double(), x, STEPS, (torch.zeros_like(x[:3]),), 1e-12)
    if len(shape) == 5:
        assert_same(per_channel().double(), x.to(memory_format=torch.channels_last_3d), STEPS, (torch.zeros_like(x[:3]),), 1e-12)


def test_more_channels_than_a_block_and_blocks_cut_anywhere():
    """9000 channels in channels_last order, then 3 channels of 3000 neurons: both cross the ends of blocks."""
    for shape in ((STEPS * 2, 9000), (STEPS * 2, 3, 3000)):
        neuron = neurons.LIF(decay=torch.linspace(0.1, 0.9, shape[1]), learnable=LEARNABLE).double()
        x = torch.randn(shape, dtype=torch.float64)
        assert_same(neuron, x, STEPS, (torch.zeros_like(x[:2]),), 1e-12)


def test_sums_over_neurons_are_exact():
    """One step below threshold from v = 1: u = decay v + x, so with weights g the gradient of decay is the sum of g; integers are exact."""
    x = torch.full((1, 3, 70000), -1e4)
    g = (torch.arange(3 * 70000) % 1001).float().view(1, 3, 70000)
    for decay, expected in ((0.5, g.double().sum()), ([0.5, 0.5, 0.5], g.double().sum((0, 2)))):
        neuron = neurons.LIF(decay=decay, learnable=("decay",))
        _, (v,) = fused(neuron, x, 1, (torch.ones(1, 3, 70000),))
        (v * g).sum().backward()
        assert torch.equal(neuron.decay.grad, expected.float())


SPOILED = {
    "transposed": lambda x: x.transpose(2, 3),
    "strided": lambda x: x[:, ::2],
    "cut": lambda x: x[..., 1:5],
    "expanded": lambda x: x[:, :1].expand(-1, 5, -1, -1),
    "permuted": lambda x: x.permute(2, 1, 0, 3),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_input_that_is_not_dense(how, memory_format):
    x = SPOILED[how](image(memory_format=memory_format))
    neuron = neurons.LIF()
    ours, theirs = fused(neuron, x, STEPS), reference(neuron, x, STEPS)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1][0], theirs[1][0])


def test_cut_channels_stay_channels_last():
    x = image(memory_format=torch.channels_last)[:, :3]
    assert fused(neurons.LIF(), x, STEPS)[0].is_contiguous(memory_format=torch.channels_last)


def test_gradient_that_is_not_dense():
    x = image(torch.float64).requires_grad_()
    y = fused(neurons.LIF().double(), x, STEPS)[0]
    y.mean().backward()  # an expanded scalar
    mean, x.grad = x.grad, None
    fused(neurons.LIF().double(), x, STEPS)[0].backward(torch.full_like(y, 1 / y.numel()))
    assert torch.equal(mean, x.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_storage(dtype):
    """State and sums are float32; results are rounded once. A rounding may go the other way where float32 differs in its last bit."""
    x = image(dtype, torch.channels_last)
    neuron = per_channel()
    state = (torch.zeros_like(x[:3], dtype=torch.float32),)
    ours, theirs = (differentiated(neuron, x, STEPS, state, scan) for scan in (fused, reference))
    assert ours.spikes.dtype == dtype and torch.equal(ours.spikes, theirs.spikes)
    assert ours.last[0].dtype == torch.float32 and torch.equal(ours.last[0], theirs.last[0])
    assert ours.x.dtype == dtype
    torch.testing.assert_close(ours.x, theirs.x, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_rounding_is_torchs(dtype):
    """An identity neuron stores each float32 as torch does: ties to even, overflow to infinity, NaN."""

    class Same(neurons.Neuron):
        states = ()
        gain = neurons.base.Param(1.0)

        def step(self, x, state, p):
            return x * p.gain, ()

    bits = torch.arange(0, 2**32, 65521 * 3).to(torch.int32)
    gains = bits.view(torch.float32)
    x = torch.ones(1, len(gains), dtype=dtype)
    values = Same()
    values.gain = gains
    ours = fused(values, x, 1)[0][0]
    theirs = gains.to(dtype)
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours[~ours.isnan()], theirs[~theirs.isnan()])


@pytest.mark.parametrize("name", neurons.known)
def test_chunks_equal_the_whole(name):
    neuron = neurons.known[name](learnable=tuple(neurons.known[name].params)).double()
    x = torch.randn(8, 3, 50, dtype=torch.float64)

    def whole(x):
        return neuron.run(x)[0]

    def halves(x):
        first, state = neuron.run(x[:4])
        return torch.cat([first, neuron.run(x[4:], state)[0]])

    results = []
    for call in (whole, halves):
        neuron.zero_grad()
        leaf = x.clone().requires_grad_()
        y = call(leaf)
        (y * torch.sin(torch.arange(y.numel()).view(y.shape))).sum().backward()
        results.append((y.detach(), leaf.grad, [p.grad for p in neuron.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    assert_close(results[1][1], results[0][1], 1e-13, "x")
    for a, b in zip(results[1][2], results[0][2], strict=True):
        assert_close(a, b, 1e-12, "parameter")


def test_threads_change_no_bit():
    x = torch.randn(STEPS * 4, 6, 5000)
    neurons_ = (per_channel_of(6), neurons.MLF(learnable=("decay", "threshold", "spacing")))
    try:
        for neuron in neurons_:
            state = tuple(torch.zeros(4, 6, 5000) for _ in neuron.states)
            results = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                results.append(differentiated(neuron, x, STEPS, state, fused))
            one, two = results
            assert torch.equal(one.spikes, two.spikes) and torch.equal(one.x, two.x) and torch.equal(one.first[0], two.first[0])
            assert all(torch.equal(one.values[k], two.values[k]) for k in one.values)
    finally:
        torch.set_num_threads(2)


def per_channel_of(channels):
    return neurons.LIF(decay=torch.linspace(0.1, 0.9, channels), learnable=LEARNABLE)


def test_results_past_the_caches():
    """Above 8 MiB results are streamed to memory; rows that start off a cache line too."""
    neuron = neurons.LIF()
    for features in (300000, 300001):
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(16, features).to(dtype).requires_grad_()
            y = fused(neuron, x, 16)[0]
            y.sum().backward()
            parts = [x.detach()[:, :1000].clone().requires_grad_(), x.detach()[:, -1000:].clone().requires_grad_()]
            for part, cut in zip(parts, (slice(0, 1000), slice(-1000, None)), strict=True):
                small = fused(neuron, part, 16)[0]
                small.sum().backward()
                assert torch.equal(y[:, cut], small) and torch.equal(x.grad[:, cut], part.grad)
            assert not y.isnan().any() and not x.grad.isnan().any()


def test_many_steps():
    """The states of 600 steps do not fit the tape of a large block; small blocks take over."""
    neuron, x = neurons.MLF().double(), torch.randn(600, 300, dtype=torch.float64)
    state = tuple(torch.zeros(1, 300, dtype=torch.float64) for _ in neuron.states)
    ours, theirs = (differentiated(neuron, x, 600, state, scan) for scan in (fused, reference))
    assert torch.equal(ours.spikes, theirs.spikes)
    assert_close(ours.x, theirs.x, 1e-12, "x")


def test_state_that_broadcasts():
    x = torch.randn(STEPS * 3, 5, dtype=torch.float64)
    v = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    for scan in (fused, reference):
        y, (last,) = scan(neurons.LIF().double(), x, STEPS, (v,))
        (y.sum() + (last * last).sum()).backward()
    ours, v.grad = v.grad / 2, None
    y, (last,) = reference(neurons.LIF().double(), x, STEPS, (v,))
    (y.sum() + (last * last).sum()).backward()
    assert_close(ours, v.grad, 1e-12, "state")


def test_nan_passes_as_in_the_reference():
    x = torch.tensor([[0.7], [float("nan")], [0.7], [float("inf")], [0.1]])
    for fires in ("above", "at_or_above"):
        neuron = neurons.LIF(fires=fires, reset="subtract")
        ours, theirs = fused(neuron, x, 5), reference(neuron, x, 5)
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1][0].isnan(), theirs[1][0].isnan())


def test_no_gradient_is_kept_without_need():
    x = image()
    assert not fused(neurons.LIF(), x, STEPS)[0].requires_grad
    with torch.no_grad():
        assert not fused(per_channel(), x, STEPS)[0].requires_grad
    y = fused(neurons.LIF(learnable=("decay",)), x, STEPS)[0]  # only the parameter
    y.sum().backward()
    assert x.grad is None


def test_second_derivatives_are_refused():
    x = image().requires_grad_()
    with pytest.raises(SpikeloomError, match="no second derivatives; drop create_graph=True, or set SPIKELOOM_BACKEND=reference"):
        torch.autograd.grad(fused(neurons.LIF(), x, STEPS)[0].sum(), x, create_graph=True)


def test_copies_of_a_used_neuron():
    neuron, x = neurons.LIF(), image()
    y = fused(neuron, x, STEPS)[0]
    assert torch.equal(fused(copy.deepcopy(neuron), x, STEPS)[0], y)
    assert any(key[0][0] is neurons.LIF for key in dispatch._kernels)
