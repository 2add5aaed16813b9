"""A CMake project of somebody else finds, links and runs the C library of the installed package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import logitloss
from processes import run

CONSUMER = Path(__file__).resolve().parents[1] / "consumer"
# CMake looks for compilers under these names, among others.
C_COMPILERS = ("cc", "gcc", "clang")
CPP_COMPILERS = ("c++", "g++", "clang++")


def missing_tools() -> list[str]:
    """Return what a build needs and this machine lacks."""
    missing = [name for name in ("cmake", "ctest") if shutil.which(name) is None]
    if not any(map(shutil.which, C_COMPILERS)):
        missing.append("a C compiler")
    if not any(map(shutil.which, CPP_COMPILERS)):
        missing.append("a C++ compiler")
    if not any(map(shutil.which, ("make", "ninja"))):
        missing.append("make or ninja")
    return missing


def succeed(*command: str) -> str:
    """Run a command that has to succeed and return its output."""
    status, output, errors = run(list(command), {})
    assert status == 0, f"{' '.join(command)} ended with status {status}:\n{output}\n{errors}"
    return output


def test_cmake_project_uses_the_installed_library(tmp_path: Path) -> None:
    missing = missing_tools()
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    generator = [] if shutil.which("make") else ["-G", "Ninja"]
    root = f"-Dlogitloss_ROOT={logitloss.get_cmake_dir()}"
    succeed("cmake", *generator, "-S", str(CONSUMER), "-B", str(tmp_path), root)
    succeed("cmake", "--build", str(tmp_path))
    output = succeed("ctest", "--test-dir", str(tmp_path), "--verbose")
    assert f"C: logitloss {logitloss.__version__}" in output
    assert f"C++: logitloss {logitloss.__version__}" in output


def test_include_directory_holds_the_headers() -> None:
    folder = Path(logitloss.get_include()) / "logitloss"
    assert {path.name for path in folder.iterdir()} >= {"logitloss.h", "logitloss.hpp"}
