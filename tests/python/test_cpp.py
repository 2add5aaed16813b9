"""The C++ tests, where they have been built.

LOGITLOSS_CPP_BUILD names a build folder; otherwise those of the presets `release` and `dev` are
looked for.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from processes import run

ROOT = Path(__file__).resolve().parents[2]
# The sum of what CTest allows each program, and more than all take together.
TIMEOUT_SECONDS = 1200.0


def build_folders() -> list[Path]:
    """Return the folders to look into, the preferred one first."""
    named = os.environ.get("LOGITLOSS_CPP_BUILD")
    if named:
        return [Path(named)]
    return [ROOT / "build" / preset for preset in ("release", "dev")]


def test_cpp_programs() -> None:
    if shutil.which("ctest") is None:
        pytest.skip("not installed: ctest (it comes with cmake)")
    built = [folder for folder in build_folders() if (folder / "CTestTestfile.cmake").is_file()]
    if not built:
        pytest.skip("not built: cmake --preset release, cmake --build --preset release")
    command = ["ctest", "--test-dir", str(built[0]), "--output-on-failure", "--no-tests=error"]
    status, output, errors = run(command, {}, timeout=TIMEOUT_SECONDS)
    assert status == 0, f"{output}\n{errors}"
