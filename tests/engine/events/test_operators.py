"""Event-driven operators against dense torch in float64, and against exact integers."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from spikeloom.core.errors import ShapeError
from spikeloom.engine import cache, events
from spikeloom.engine.bits import pack, unpack
from spikeloom.engine.events import conv, cost, dispatch, pool, tiles

DENSITIES = [0, 0.01, 0.05, 0.3, 0.8, 1]
ORDERS = [torch.contiguous_format, torch.channels_last]
pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731


def spikes(shape, density, planes=1, signed=False):
    high = 2**planes
    return (torch.randint(1 - high if signed else 1, high, shape) * (torch.rand(shape) < density)).float()


def off(weight):
    """By how much the tiles of each output's weights differ from these at most, `[outputs, 1, 1]` or `[outputs]`."""
    return (weight.double().abs().flatten(1).amax(1) * 1.2e-7)[(..., *[None] * (weight.dim() - 2))]


def compare(x, bits, weight, bias, *geometry):
    """float32 to rounding, int8 exactly."""
    expected = F.conv2d(x.double(), weight.double(), bias.double(), *geometry)
    small = weight.float() / 97
    wanted = F.conv2d(x.double(), small.double(), bias.double(), *geometry)
    size = F.conv2d(x.double().abs(), small.double().abs(), bias.double().abs(), *geometry)
    rounded = off(small) * F.conv2d(x.double().abs(), torch.ones_like(small, dtype=torch.float64), None, *geometry)
    ways = ("list", "tile") if geometry[-1] == 1 and x.shape[1] > 1 else ("list",)
    for way in ways:
        whole = events.conv2d(bits, weight, bias, *geometry, way=way)
        assert whole.dtype == torch.int32 and whole.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(whole.double(), expected)
        real = events.conv2d(bits, small, bias.float(), *geometry, way=way)
        assert real.dtype == torch.float32 and ((real - wanted).abs() <= 1e-5 * size + (rounded if way == "tile" else 0)).all()


@given(
    st.integers(1, 33), st.sampled_from([1, 2, 3]), st.sampled_from([1, 3, 16, 63, 64, 70]), st.sampled_from([1, 5, 16, 33, 64, 130]),
    pair(1, 9), st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (2, 3), (4, 1)]), pair(1, 3), pair(0, 3), pair(1, 2),
    st.sampled_from(DENSITIES), st.sampled_from([(1, False), (1, True), (3, False), (2, True)]), st.sampled_from(ORDERS),
)  # fmt: skip
def test_conv2d(n, groups, inputs, outputs, size, kernel, stride, padding, dilation, density, kind, order):
    assume(all(d + 2 * p > r * (k - 1) for d, p, r, k in zip(size, padding, dilation, kernel, strict=True)))
    assume(n * outputs * inputs * groups < 20000)
    x = spikes((n, groups * inputs, *size), density, *kind).contiguous(memory_format=order)
    weight = torch.randint(-128, 128, (groups * outputs, inputs, *kernel), dtype=torch.int8)
    bias = torch.randint(-500, 500, (groups * outputs,), dtype=torch.int32)
    compare(x, pack(x, *kind), weight, bias, stride, padding, dilation, groups)


@given(
    st.integers(1, 5), st.sampled_from([1, 3, 64, 70, 130]), pair(1, 9), st.sampled_from([(1, 1), (3, 3), (7, 7), (2, 5)]), pair(1, 3),
    pair(0, 3), pair(1, 2), st.sampled_from(DENSITIES), st.sampled_from([(1, False), (1, True), (3, False), (2, True)]),
)  # fmt: skip
def test_depthwise(n, channels, size, kernel, stride, padding, dilation, density, kind):
    assume(all(d + 2 * p > r * (k - 1) for d, p, r, k in zip(size, padding, dilation, kernel, strict=True)))
    x = spikes((n, channels, *size), density, *kind)
    weight = torch.randint(-128, 128, (channels, 1, *kernel), dtype=torch.int8)
    compare(x, pack(x, *kind), weight, torch.arange(channels, dtype=torch.int32), stride, padding, dilation, channels)


def test_the_extremes_of_int8_do_not_overflow():
    """Thousands of rows of -128 or 127 into one sum: far beyond what 16 bits hold."""
    x = torch.ones(1, 600, 3, 3)
    for value in (-128, 127):
        weight = torch.full((200, 600, 3, 3), value, dtype=torch.int8)
        for way in ("list", "tile"):
            assert events.conv2d(pack(x), weight, way=way).unique().tolist() == [value * 5400]


@pytest.mark.parametrize("planes", [1, 7])
def test_dense_sums_of_int8_are_exact_too(planes):
    """Up to 2^24 float32 holds them, beyond it float64 does."""
    top = 2**planes - 1
    x, weight = torch.full((1, 200, 3, 3), float(top)), torch.full((3, 200, 3, 3), -127, dtype=torch.int8)
    weight[0, 0, 0, 0] = -126
    found = events.conv2d(pack(x, planes), weight, way="dense")
    assert found.dtype == torch.int32 and found.flatten().tolist() == [(1 - 1800 * 127) * top, *[-1800 * 127 * top] * 2]


@given(st.integers(1, 33), st.integers(1, 200), st.integers(1, 200), st.sampled_from(DENSITIES), st.sampled_from([(1, False), (2, True)]))
def test_linear(n, inputs, outputs, density, kind):
    x = spikes((n, inputs), density, *kind)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
    expected = F.linear(x.double(), weight.double(), bias.double())
    size = F.linear(x.double().abs(), weight.double().abs(), bias.double().abs())
    rounded = off(weight) * x.double().abs().sum(1, keepdim=True)
    for way in ("list", "dense", None) if inputs == outputs == 1 else ("list", "tile", "dense", None):
        got = events.linear(pack(x, *kind), weight, bias, way=way)
        near = 1e-5 * size + (0 if way in ("list", "dense") else rounded)
        assert got.shape == expected.shape and ((got - expected).abs() <= near).all()


def test_linear_flattens_maps():
    x = spikes((5, 70, 3, 2), 0.3)
    weight = torch.randint(-128, 128, (9, 420), dtype=torch.int8)
    for laid in (weight, events.lay(weight.view(9, 70, 3, 2))):
        assert torch.equal(events.linear(pack(x), laid).double(), x.flatten(1).double() @ weight.double().T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("inputs, density, parts", [(48, 0.02, 1), (48, 0.9, 3), (200, 0.02, 1), (200, 0.6, 9)])
def test_every_way_gives_the_same(inputs, density, parts, signed, dtype):
    x = spikes((3, inputs, 9, 7), density, 2, signed)
    weight = torch.randint(-128, 128, (80, inputs, 3, 3)).to(dtype)  # sums of whole numbers are exact in float32 too
    bits, expected = pack(x, 2, signed), F.conv2d(x.double(), weight.double(), padding=1)
    case = cost.Case(3 * 63, (3, 3), inputs, 80, 1, x.numel(), dtype, 7)
    assert case.parts(bits.events()) == parts
    for way in ("list", "tile", "dense", None):
        assert torch.equal(events.conv2d(bits, weight, padding=1, way=way).double(), expected)


@pytest.mark.parametrize("way", ["list", "tile"])
def test_threads_do_not_change_a_bit(way):
    x = spikes((6, 64, 16, 16), 0.1)
    weight, whole = torch.randn(96, 64, 3, 3), torch.randint(-128, 128, (96, 64, 3, 3), dtype=torch.int8)
    one, two = [], []
    for threads, found in ((1, one), (2, two)):
        torch.set_num_threads(threads)
        found += [events.conv2d(pack(x), w, padding=1, way=way) for w in (weight, whole)]
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


@pytest.mark.parametrize("way", ["list", "tile"])
@pytest.mark.parametrize("side", [5, 8, 16, 21])
def test_the_batch_does_not_change_a_bit(way, side):
    x, weight = spikes((9, 64, side, side), 0.1), torch.randn(64, 64, 3, 3)
    together = events.conv2d(pack(x), weight, padding=1, way=way)
    assert torch.equal(together, torch.cat([events.conv2d(pack(part), weight, padding=1, way=way) for part in x.split(2)]))


@given(
    st.integers(1, 3), st.sampled_from([1, 64, 70]), pair(3, 9), pair(1, 3), st.one_of(st.none(), pair(1, 3)), st.integers(0, 1),
    st.integers(1, 3), st.booleans(), st.sampled_from(DENSITIES),
)  # fmt: skip
def test_pools(n, channels, size, kernel, stride, padding, planes, signed, density):
    padding = padding if min(kernel) > 1 else 0
    x = spikes((n, channels, *size), density, planes, signed)
    bits = pack(x, planes, signed)
    if not signed:
        assert torch.equal(unpack(events.max_pool2d(bits, kernel, stride, padding)), F.max_pool2d(x, kernel, stride, padding))
    total = events.sum_pool2d(bits, kernel, stride, padding)
    assert torch.equal(unpack(total), F.avg_pool2d(x, kernel, stride, padding, divisor_override=1))
    assert total.planes == (kernel[0] * kernel[1] * (2**planes - 1)).bit_length() and total.signed == signed


def test_a_two_by_two_sum_has_three_planes():
    total = events.sum_pool2d(pack(torch.ones(1, 1, 2, 2)), 2)
    assert total.words.flatten().tolist() == [0, 0, 1]


def test_without_a_compiler(monkeypatch):
    def missing(*_):
        raise cache.CannotCompile("no C++ compiler; the reference loop runs")

    monkeypatch.setattr(conv, "_function", missing)
    monkeypatch.setattr(pool, "_found", missing)
    x = spikes((2, 20, 6, 6), 0.2)
    weight = torch.randint(-128, 128, (7, 20, 3, 3), dtype=torch.int8)
    bits = pack(x)
    assert torch.equal(events.conv2d(bits, weight).double(), F.conv2d(x.double(), weight.double()))
    assert torch.equal(unpack(events.max_pool2d(bits, 2)), F.max_pool2d(x, 2))
    assert torch.equal(unpack(events.sum_pool2d(bits, 2)), F.avg_pool2d(x, 2) * 4)
    assert events.explain(bits, weight)[::2] == ("dense", "no C++ compiler; it stays dense")


@pytest.fixture(params=[0, 1], ids=["no tiles", "tiles"])
def state(request, monkeypatch):
    """Whether the machine has tiles; otherwise it is the one whose nanoseconds cost.py has. Cases remember."""
    conv._geometry.cache_clear()
    monkeypatch.setattr(cost, "OURS", cost.WIDE)
    monkeypatch.setattr(tiles, "state", lambda: request.param)
    yield request.param
    conv._geometry.cache_clear()


def test_explain(state):
    weight = torch.randn(64, 64, 3, 3)
    way, density, reason = events.explain(pack(torch.zeros(1, 64, 8, 8)), weight, padding=1)
    assert (way, density) == ("list", 0) and "times faster than dense" in reason
    way, density, reason = events.explain(pack(torch.ones(1, 64, 8, 8)), weight, padding=1)
    assert (way, density) == ("tile" if state else "dense", 1) and ("too many for lists" if state else "lists would take") in reason
    assert "too few to gain" in events.explain(pack(torch.zeros(1, 2, 8, 8)), torch.randn(2, 2, 1, 1)).reason
    assert events.explain(pack(torch.ones(1, 64, 8, 8)), torch.randn(64, 1, 3, 3), groups=64).way == "depthwise"
    assert events.explain(pack(torch.ones(1, 64, 8, 8)), weight.to(torch.int8)).way == ("tile" if state else "list")


def test_dispatch_follows_the_density(state):
    case = cost.Case(1024, (3, 3), 128, 128, 1, 131072, torch.float32, 32)
    ways = [dispatch.choose(case, d * 131072 // 100).way for d in range(101)]
    then, least = ("tile", 5) if state else ("dense", 40)
    assert ways.index(then) >= least and set(ways[ways.index(then) :]) == {then}


def test_lists_go_further_where_dense_products_are_slow(monkeypatch):
    most = []
    for slower in (cost.WIDE, cost.NARROW):
        monkeypatch.setattr(cost, "OURS", slower)
        cases = [cost.Case(1024, (3, 3), n, n, 1, 1024 * n, dtype, 32) for n in (16, 64) for dtype in (torch.float32, torch.int8)]
        monkeypatch.setattr(tiles, "state", lambda: 0)
        most.append([case.most / case.elements for case in cases])
    (few, few_whole, many, _), (further, further_whole, most_of, _) = most
    assert few < 0.05 < further and few_whole < further_whole and many < most_of


@pytest.mark.parametrize(("taps", "stride", "read"), [(1, 1, 32 * 32), (1, 2, 16 * 16), (3, 2, 32 * 32)])
def test_only_words_that_a_window_reaches_are_counted(taps, stride, read):
    side = 32 // stride
    case = cost.Case(side**2, (taps, taps), 96, 64, 1, 32 * 32 * 96, torch.float32, side)
    assert case.words == 2 * read  # 96 channels take two


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False), min_size=2, max_size=64))
def test_a_weight_is_three_digits(numbers):
    """To 1.2e-7 of the largest: seen by one input at a time."""
    weight = torch.tensor(numbers)[None, :, None, None]
    largest = weight.abs().max().item()
    assume(2.0**-100 < largest < 2.0**120)
    x = torch.eye(len(numbers))[:, :, None, None]
    seen = events.conv2d(pack(x), weight, way="tile")
    assert (seen.flatten().double() - weight.flatten().double()).abs().max() <= 1.2e-7 * largest


@pytest.mark.parametrize("way", ["tile", "dense"])
def test_weights_that_are_no_numbers_stay_none(way):
    weight = torch.ones(32, 64, 1, 1)
    weight[3, 0], weight[4, 0] = torch.nan, torch.inf
    y = events.conv2d(pack(torch.ones(1, 64, 4, 4)), weight, way=way).flatten(2)[0, :, 0]
    assert not y[3:5].isfinite().any() and y[[*range(3), *range(5, 32)]].eq(64).all()


def test_tiles_are_exact_where_weights_have_22_bits():
    """Whole numbers up to 2^22 and any power of two times them: the sums are exact as long as float32 holds them."""
    x, weight = spikes((3, 70, 9, 9), 0.4), torch.randint(-(2**12), 2**12, (20, 70, 3, 3)).float() / 2**7
    assert torch.equal(events.conv2d(pack(x), weight, padding=1, way="tile").double(), F.conv2d(x.double(), weight.double(), padding=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_sums_that_int32_cannot_hold_are_no_tiles(dtype):
    """One input more than can be 127 times -128 each."""
    x, weight = torch.full((1, tiles.MOST + 1), 127.0), torch.full((2, tiles.MOST + 1), -127).to(dtype)
    bits = pack(x, 7)
    assert torch.equal(events.linear(bits, weight, way="tile"), events.linear(bits, weight, way="dense"))


def test_a_system_may_refuse_tiles(monkeypatch):
    x, weight = spikes((1, 64, 16, 16), 0.9), torch.randn(64, 64, 3, 3)
    monkeypatch.setattr(tiles, "state", lambda: 2)
    assert torch.equal(events.conv2d(pack(x), weight, way="tile"), events.conv2d(pack(x), weight, way="dense"))


def test_torch_may_use_tiles_in_between():
    """bfloat16 products of torch set the tiles up for themselves."""
    x, weight = spikes((2, 64, 16, 16), 0.3), torch.randint(-8, 8, (64, 64, 3, 3)).float()
    expected = F.conv2d(x, weight, padding=1)
    for _ in range(3):
        assert torch.equal(events.conv2d(pack(x), weight, padding=1, way="tile"), expected)
        assert torch.equal(F.conv2d(x.bfloat16(), weight.bfloat16(), padding=1), expected.bfloat16())


def test_nothing_at_all():
    assert events.conv2d(pack(torch.zeros(0, 64, 4, 4)), torch.randn(64, 64, 3, 3)).shape == (0, 64, 2, 2)


def test_refusals():
    bits, weight = pack(torch.zeros(1, 6, 4, 4)), torch.zeros(4, 6, 3, 3)
    cases = [
        (lambda: events.conv2d(bits, weight.double()), r"events weight: .*float64.* must be float32 or int8"),
        (lambda: events.conv2d(bits, weight[:, :5]), r"events weight: got \[4, 5, 3, 3\]; must be \[Cout, 6 / groups"),
        (lambda: events.conv2d(bits, weight, groups=3), r"events groups: got 3; must be a divisor of the 4"),
        (lambda: events.conv2d(bits, weight, torch.zeros(5)), r"events bias: .*\[5\].* must be torch\.float32 of shape \[4\]"),
        (lambda: events.conv2d(bits, weight.to(torch.int8), torch.zeros(4)), r"events bias: .* must be torch\.int32"),
        (lambda: events.conv2d(bits, weight, stride=0), r"events stride: got 0; must be a whole number of at least 1"),
        (lambda: events.conv2d(bits, weight, padding=(1, 2, 3)), r"events padding: got \(1, 2, 3\)"),
        (lambda: events.conv2d(bits, torch.zeros(4, 6, 5, 5)), r"events\.conv2d bits: .* at least as large as the kernel"),
        (lambda: events.conv2d(pack(torch.zeros(1, 6)), weight), r"events\.conv2d bits: got \[1, 6\].* use events\.linear"),
        (lambda: events.conv2d(bits, events.lay(weight), torch.zeros(4)), r"holds its bias and groups"),
        (lambda: events.linear(bits, torch.zeros(3, 95)), r"events\.linear weight: got \[3, 95\]; must be \[out, 96\]"),
        (lambda: events.sum_pool2d(bits, 12), r"events\.sum_pool2d kernel_size: got \(12, 12\); must be such that sums are below 2\^7"),
        (lambda: events.max_pool2d(bits, 5), r"events pool bits: got \[1, 6, 4, 4\]; must be at least as large"),
        (lambda: events.max_pool2d(bits, 2, padding=2), r"events padding: got \(2, 2\); must be at most half the kernel"),
        (lambda: events.conv2d(bits, weight[:, :3], groups=2, way="tile"), r"events way: got 'tile'.* tiles are for one group"),
        (lambda: events.max_pool2d(pack(torch.zeros(1, 6, 4, 4), signed=True), 2), r"events pool bits: got 'signed .* unpack them first"),
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises(ShapeError, match=message):
            call()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
@pytest.mark.parametrize("planes, signed", [(1, False), (1, True), (3, False), (2, True)])
@pytest.mark.parametrize(
    "inputs, outputs, kernel, stride, padding, side, groups",
    [(1, 12, (5, 5), 1, 0, 28, 1), (2, 40, (3, 3), 2, 1, 17, 1), (16, 16, (3, 3), 1, 1, 9, 1), (6, 20, (3, 5), (2, 1), (1, 2), 11, 2),
     (1, 130, (3, 4), 1, 3, 70, 1), (1, 8, (1, 1), 3, 0, 9, 1), (130, 4, (1, 1), 1, 0, 3, 1), (2, 3, (2, 2), 4, 0, 13, 1)],
)  # fmt: skip
def test_sums_that_are_looked_up(inputs, outputs, kernel, stride, padding, side, groups, planes, signed, dtype):
    x = spikes((3, inputs, side, side + 3), 0.4, planes, signed)
    weight = torch.randint(-128, 128, (outputs, inputs // groups, *kernel)).to(dtype)  # whole numbers: every sum is exact
    bias = torch.randint(-9, 10, (outputs,)).to(torch.float32 if dtype == torch.float32 else torch.int32)
    bits, laid = pack(x, planes, signed), events.lay(weight, bias, groups)
    call = conv._call(bits, laid, None, stride, padding, 1, groups)[1]
    found, way = conv.computed(bits, laid, call, "table")
    assert way == "table"
    assert torch.equal(found.double(), F.conv2d(x.double(), weight.double(), bias.double(), stride, padding, 1, groups))


def test_what_has_no_tables_is_dense():
    bits = pack(spikes((2, 3, 20, 20), 0.3))
    for weight, dilation in ((torch.randn(8, 3, 9, 9), 1), (torch.randn(8, 3, 3, 3), 2)):
        laid, call = conv._call(bits, weight, None, 1, 0, dilation, 1)
        assert conv.computed(bits, laid, call, "table")[1] == "dense"
    x, weight = spikes((2, 64, 9, 9), 0.3), torch.randint(-9, 9, (64, 1, 3, 3)).float()  # depthwise
    assert torch.equal(events.conv2d(pack(x), weight, groups=64, way="table"), F.conv2d(x, weight, groups=64))


def test_one_channel_of_spikes_is_looked_up(state):
    assert events.explain(pack(torch.ones(16, 1, 28, 28)), torch.randn(12, 1, 5, 5)).way == "table"
    assert events.explain(pack(torch.ones(16, 64, 28, 28)), torch.randn(12, 64, 5, 5)).way != "table"
