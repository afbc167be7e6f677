"""The conditions that conftest sets for every test."""

import socket

import pytest
import torch
from pytest_socket import SocketConnectBlockedError


def test_float32_and_two_threads():
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("turn", [1, 2])
def test_seeds_are_the_same_for_every_test(turn):
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_the_network_is_blocked_but_not_this_computer():
    with pytest.raises(SocketConnectBlockedError), pytest.warns(UserWarning, match=r"host \"192.0.2.1\""):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        pass
