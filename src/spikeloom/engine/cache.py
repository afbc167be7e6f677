"""Compiles C++ at first use into a per-user folder, once per source, flags, compiler and CPU."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from spikeloom.core.errors import SpikeloomError
from spikeloom.core.lock import locked

# contraction into fused multiply-adds would flip spikes against the reference loop
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno",
    "-fopenmp", "-fPIC", "-shared", "-w",
)  # fmt: skip
DIGEST = 32  # bytes of sha256 that follow the library in its file


class CannotCompile(SpikeloomError):
    """There is no C++ compiler, or it failed."""


def library(source: str) -> ctypes.CDLL:
    """The shared library of `source`, compiled at most once per user and machine. Raises CannotCompile."""
    command, version = _compiler(os.environ.get("CXX", ""), os.environ.get("PATH", ""))
    key = hashlib.sha256("\0".join([source, *command, *FLAGS, version, _cpu()]).encode()).hexdigest()
    path = folder() / f"{key}.so"
    if not _sound(path):
        with locked(path.with_suffix(".lock")):
            if not _sound(path):
                _compile(command, source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CannotCompile(f"the compiled kernel cannot be loaded ({error}); the reference loop runs") from error


@cache
def function(source: str, name: str) -> Any:
    """The function `name` of `library(source)`: takes the bytes of its arguments, returns an int."""
    found = getattr(library(source), name)
    found.restype = ctypes.c_int
    found.argtypes = (ctypes.c_char_p,)
    return found


def compiler() -> str:
    """Command and version of the C++ compiler. Raises CannotCompile."""
    command, version = _compiler(os.environ.get("CXX", ""), os.environ.get("PATH", ""))
    return f"{shlex.join(command)} ({version})"


def folder() -> Path:
    """The cache folder, private to the user: `SPIKELOOM_CACHE`, else the platform's; a temporary one where that cannot be written."""
    asked = os.environ.get("SPIKELOOM_CACHE")
    try:
        path = Path(asked) if asked else _platform_folder()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _private(path) and os.access(path, os.W_OK | os.X_OK):
            return path
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        pass
    return _temporary()


def _platform_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/spikeloom"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeloom"


def _private(path: Path) -> bool:
    """Nobody else can put a library there."""
    info = path.stat()
    return not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not info.st_mode & 0o022)


@cache
def _temporary() -> Path:
    import atexit

    path = tempfile.mkdtemp(prefix="spikeloom-")  # mode 0700
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(path, ignore_errors=True))
    return Path(path)


@cache
def _compiler(asked: str, search: str) -> tuple[tuple[str, ...], str]:
    commands = [tuple(shlex.split(asked))] if asked else [("c++",), ("g++",), ("clang++",)]
    found = next((command for command in commands if shutil.which(command[0])), None)
    if found is None:
        names = ", ".join(map(shlex.join, commands))
        raise CannotCompile(f"no C++ compiler ({names}) on PATH; install one or set CXX; the reference loop runs")
    answer = subprocess.run([*found, "--version"], capture_output=True, text=True, check=False)
    return found, (answer.stdout.splitlines() or ["unknown version"])[0]


@cache
def _cpu() -> str:
    """What `-march=native` depends on."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        wanted = ("model name", "flags", "Features", "CPU part")
        return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
    return f"{platform.machine()} {platform.processor()} {platform.node()}"


def _sound(path: Path) -> bool:
    """The file is there and ends with the digest of what precedes: a truncated library would crash the process that loads it."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return len(content) > DIGEST and hashlib.sha256(content[:-DIGEST]).digest() == content[-DIGEST:]


def _compile(command: tuple[str, ...], source: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as build:
        code, built = Path(build) / "scan.cpp", Path(build) / "scan.so"
        code.write_text(source)
        answer = subprocess.run([*command, *FLAGS, str(code), "-o", str(built)], capture_output=True, text=True, check=False)
        if answer.returncode or not built.exists():
            message = next((line for line in answer.stderr.splitlines() if "error" in line), answer.stderr.strip() or "no message")
            raise CannotCompile(
                f"{shlex.join(command)} failed ({message.partition('error:')[2].strip() or message}); the reference loop runs"
            )
        content = built.read_bytes()
        built.write_bytes(content + hashlib.sha256(content).digest())
        os.replace(built, path)
