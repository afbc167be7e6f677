import numpy as np
import pytest
import torch
from torch import nn

from spikeloom import LIF, models
from spikeloom.core.errors import DataError, ParameterError
from spikeloom.io import weights
from spikeloom.nn.activations import QCFS


def test_round_trip_is_bit_exact_and_leaves_no_temporary_file(tmp_path):
    net, other = models.ds_resnet(8, channels=(4, 4, 4)), models.ds_resnet(8, channels=(4, 4, 4))
    weights.save(net, tmp_path / "w.safetensors")
    weights.load(other, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_npz_without_neuron_constants_fits(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), LIF(threshold=0.7))
    np.savez(tmp_path / "w.npz", **{"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3)})
    weights.load(net, tmp_path / "w.npz")
    assert torch.equal(net[0].weight, torch.ones(3, 2))
    assert net[1].threshold == pytest.approx(0.7)


def test_files_that_do_not_fit_are_refused_by_name(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(DataError, match=r"no file .*absent.npz"):
        weights.load(net, tmp_path / "absent.npz")
    (tmp_path / "w.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"must be a \.safetensors or \.npz file"):
        weights.load(net, tmp_path / "w.bin")
    (tmp_path / "w.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read"):
        weights.load(net, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **{"0.weight": np.ones((3, 4)), "extra": np.zeros(3)})
    with pytest.raises(DataError, match=r"missing \['0.bias'\], unknown \['extra'\], other shapes \['0.weight \[3, 4\] for \[3, 2\]'\]"):
        weights.load(net, tmp_path / "w.npz")


def test_what_a_file_lacks_stays_where_asked_and_is_named(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), QCFS(scale=3.0))
    np.savez(tmp_path / "w.npz", **{"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3)})
    assert weights.load(net, tmp_path / "w.npz", missing="kept") == ["1.scale"]
    assert torch.equal(net[0].weight, torch.ones(3, 2)) and net[1].scale == 3
    with pytest.raises(DataError, match=r"missing \['1.scale'\]"):
        weights.load(net, tmp_path / "w.npz")
    with pytest.raises(ParameterError, match="missing"):
        weights.load(net, tmp_path / "w.npz", missing="ignored")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(DataError, match="missing"):
        weights.load(net, tmp_path / "empty.npz", missing="kept")
