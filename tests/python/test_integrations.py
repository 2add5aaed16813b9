"""What holds for every integration: nothing is imported unasked, and what is missing is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import logitloss
from processes import run

LIBRARIES = ["xgboost", "lightgbm", "catboost", "jax", "torch", "keras", "dask"]

HIDE = """
import sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
try:
    import logitloss.integrations.{library}
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_importing_the_package_imports_no_library() -> None:
    code = f"import logitloss, sys; print(*(set(sys.modules) & set({LIBRARIES!r})))"
    assert run([sys.executable, "-c", code], {}) == (0, "\n", "")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_is_named_with_its_extra(library: str) -> None:
    status, output, errors = run([sys.executable, "-c", HIDE.format(library=library)], {})
    assert (status, errors) == (0, "")
    assert output == (
        f"ImportError logitloss.integrations.{library} needs {library}, which is not installed; "
        f"python -m pip install 'logitloss[{library}]' installs it\n"
    )


def test_every_integration_is_named_here() -> None:
    folder = Path(logitloss.__file__).parent / "integrations"
    modules = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert modules == set(LIBRARIES)
