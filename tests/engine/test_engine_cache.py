import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from against_reference import reference

from spikeloom import engine, neurons
from spikeloom.engine import cache

SOURCE = 'extern "C" int answer(const char*) { return 42; }'


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


def test_contraction_is_off():
    """Fused multiply-adds would flip spikes against the reference."""
    assert "-ffp-contract=off" in cache.FLAGS
    assert not any("fast" in flag for flag in cache.FLAGS)


def test_a_library_is_compiled_once_and_private(empty, monkeypatch):
    assert cache.library(SOURCE).answer(b"") == 42
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    assert [p.suffix for p in sorted(empty.iterdir())] == [".lock", ".so"]
    monkeypatch.setattr(cache, "_compile", lambda *a: pytest.fail("compiled again"))
    assert cache.library(SOURCE).answer(b"") == 42


@pytest.mark.parametrize("damage", ["half", "empty", "byte"])
def test_a_damaged_library_is_compiled_again(empty, damage):
    source = SOURCE.replace("answer", damage)
    cache.library(source)
    (path,) = empty.glob("*.so")
    sound = path.read_bytes()
    path.unlink()  # the loaded file stays as it is
    path.write_bytes({"half": sound[: len(sound) // 2], "empty": b"", "byte": sound[:2000] + b"?" + sound[2001:]}[damage])
    assert getattr(cache.library(source), damage)(b"") == 42
    assert cache._sound(path)


def test_racing_processes_compile_once(empty, tmp_path):
    """Both find the cache empty; the second waits for the first and loads what it made."""
    log = tmp_path / "log"
    wrapper = tmp_path / "c++"
    real = shutil.which("c++")
    wrapper.write_text(f'#!/bin/sh\ncase "$*" in *--version*) ;; *) echo run >> {log}; sleep 0.5 ;; esac\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    code = f"from spikeloom.engine import cache; assert cache.library({SOURCE!r}).answer(b'') == 42"
    source = Path(engine.__file__).parents[2]
    environment = {**os.environ, "CXX": str(wrapper), "SPIKELOOM_CACHE": str(empty), "PYTHONPATH": str(source)}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [p.wait(120) for p in running] == [0, 0]
    assert log.read_text().count("run") == 1


def test_a_folder_others_may_write_is_not_used(empty, forgetful):
    empty.mkdir()
    empty.chmod(0o777)
    path = cache.folder()
    assert path != empty and stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch, forgetful):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "file" / "kernels"))  # not even root can make this
    assert cache.library(SOURCE).answer(b"") == 42
    assert cache.folder() == cache._temporary()


def test_the_platforms_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SPIKELOOM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.folder() == tmp_path / "spikeloom"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache._platform_folder() == Path.home() / "Library/Caches/spikeloom"


def test_a_compiler_with_arguments(empty, monkeypatch, forgetful):
    monkeypatch.setenv("CXX", "c++ -DTHIS=42")
    assert cache.library(SOURCE.replace("42", "THIS")).answer(b"") == 42
    assert cache.compiler().startswith("c++ -DTHIS=42 (")


def test_no_home(monkeypatch, forgetful):
    monkeypatch.delenv("SPIKELOOM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache.folder() == cache._temporary()


def test_no_compiler(monkeypatch, tmp_path, forgetful):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.raises(cache.CannotCompile, match=r"no C\+\+ compiler .* install one or set CXX"):
        cache.library("int other;")


def failing(tmp_path):
    wrapper = tmp_path / "broken"
    wrapper.write_text('#!/bin/sh\necho "scan.cpp:1:1: error: all is lost" >&2\nexit 1\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def test_a_failing_compiler_warns_once_and_the_reference_runs(monkeypatch, tmp_path, forgetful):
    monkeypatch.setenv("CXX", failing(tmp_path))
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto")
    neuron, x = neurons.LIF(), torch.randn(4, 3, 2)
    with pytest.warns(engine.SlowBackend, match=r"all is lost.*the reference loop runs") as seen:
        y = neuron(x)
        neurons.MLF()(x)
    assert len(seen) == 1
    assert torch.equal(y, reference(neuron, x.flatten(0, 1), 4)[0].view(4, 3, 2))
    backend, reason = engine.explain(neurons.LIF())
    assert backend == "reference" and "all is lost" in reason


def test_the_backend_cpp_refuses_what_it_cannot_do(monkeypatch, tmp_path, forgetful):
    monkeypatch.setenv("CXX", failing(tmp_path))
    with pytest.raises(engine.CannotFuse, match=r"SPIKELOOM_BACKEND=cpp: LIF: .*all is lost"):
        neurons.LIF()(torch.randn(4, 3, 2))


def test_a_library_that_does_not_load(empty, monkeypatch):
    monkeypatch.setattr(cache, "_compile", lambda command, source, path: path.write_bytes(b"no library"))
    with pytest.raises(cache.CannotCompile, match="cannot be loaded"):
        cache.library(SOURCE)
