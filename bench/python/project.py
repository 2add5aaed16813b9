"""What the scripts of this folder share: the oracle of the tests, progress, and provenance."""

from __future__ import annotations

import importlib
import json
import pathlib
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

ROOT: Final = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

# Found only by the path that was added above.
import oracle  # noqa: E402

__all__ = ["ROOT", "oracle", "processor", "provenance", "tracked", "write_json"]

Item = TypeVar("Item")


def tracked(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Yield the items and show how far along they are, on standard error.

    Parameters
    ----------
    items : sequence
        What to go through.
    description : str
        What is being done.

    Yields
    ------
    object
        Each item in turn.
    """
    try:
        progress: Any = importlib.import_module("rich.progress")
        console: Any = importlib.import_module("rich.console").Console(stderr=True)
    except ImportError:
        for number, item in enumerate(items, 1):
            print(f"{description}: {number} of {len(items)}", file=sys.stderr, flush=True)
            yield item
        return
    yield from progress.track(items, description=description, console=console)


def processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    information = pathlib.Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def provenance(date: str | None) -> dict[str, Any]:
    """Return what a result depends on beside the code: versions, build, processor.

    Parameters
    ----------
    date : str or None
        The date to record; left out if None.
    """
    import numpy as np

    import logitloss

    config = logitloss.config()
    facts: dict[str, Any] = {
        "logitloss": config["version"],
        "isa": config["isa"],
        "compiler": config["compiler"],
        "processor": processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    if date is not None:
        facts["date"] = date
    return facts


def write_json(path: pathlib.Path, data: Any) -> None:
    """Write data as JSON, with a line for each entry of a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for key, value in data.items():
        if isinstance(value, list):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            parts.append(f"  {json.dumps(key)}: [\n{rows}\n  ]")
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")
