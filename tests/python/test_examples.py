"""The examples: each one runs, from start to end, where the libraries that it imports are."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

from processes import run

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


def missing_libraries(example: Path) -> list[str]:
    """Return the libraries that an example imports and that are not installed."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(example.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    # Each integration imports the library of its name.
    libraries = {
        name.split(".")[2] if name.startswith("logitloss.integrations.") else name.split(".")[0]
        for name in names
    }
    return sorted(name for name in libraries if importlib.util.find_spec(name) is None)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path) -> None:
    missing = missing_libraries(example)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    status, output, errors = run([sys.executable, str(example)], {})
    assert status == 0, output + errors
    assert output
