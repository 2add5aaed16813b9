"""The documents: examples run, tables are those of the data, links lead somewhere."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from processes import run

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "bench" / "python" / "tables.py"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links(document: Path) -> None:
    missing = [link for link in local_links(document) if not (document.parent / link).exists()]
    assert not missing


def test_tables_are_those_of_the_data() -> None:
    status, output, errors = run([sys.executable, str(TABLES), "--check-tables"], {})
    assert status == 0, output + errors
