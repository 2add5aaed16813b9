"""The documents: examples run, tables are those of the data, links lead somewhere."""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from processes import run
from test_examples import missing_libraries

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "bench" / "python" / "tables.py"
PAGES = sorted((ROOT / "docs" / "integrations").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *PAGES]


def python_blocks(document: Path) -> list[str]:
    """Return the Python examples of a document."""
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)


def local_links(document: Path) -> list[str]:
    """Return the files that a document links to."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    return [target for target in targets if "://" not in target]


def test_readme_example() -> None:
    names: dict[str, Any] = {}
    blocks = python_blocks(ROOT / "README.md")
    for block in blocks:
        exec(block, names)
    assert blocks
    assert math.isfinite(names["loss"])
    assert names["gradient"].shape == names["logits"].shape


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_examples_of_integrations(page: Path, tmp_path: Path) -> None:
    """The blocks of a page are one program, from the first to the last."""
    program = tmp_path / "program.py"
    program.write_text("\n".join(python_blocks(page)))
    missing = missing_libraries(program)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    # Keras' own default is TensorFlow, which the page says is not taken.
    environment = {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "numpy")}
    status, output, errors = run([sys.executable, str(program)], environment)
    assert status == 0, output + errors


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(document: Path) -> None:
    missing = [link for link in local_links(document) if not (document.parent / link).exists()]
    assert not missing


def test_tables_are_those_of_the_data() -> None:
    status, output, errors = run([sys.executable, str(TABLES), "--check-tables"], {})
    assert status == 0, output + errors
