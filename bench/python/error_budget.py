"""Measure the error of every step of the mathematics, on the library's own headers.

Compiles ``error_budget.cpp`` for this processor, which must have fused multiply-add, and runs it
for float32 and float64. By default every float32 from 0 to 104 is taken, which takes minutes, and
some 33 million float64 from 2**-60 to 746.

Usage: ``python bench/python/error_budget.py``, then ``python bench/python/tables.py
--write-tables``.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import subprocess
import tempfile
from typing import Any, Final

from project import ROOT, provenance, tracked, write_json

FLAGS: Final = ("-std=c++20", "-O2", "-ffp-contract=off", "-fno-math-errno", "-march=native")
STRIDES: Final = {"float": 1, "double": 9_467_001_239}
QUICK_FACTOR: Final = 1021


def compiled(directory: pathlib.Path) -> pathlib.Path:
    """Compile the program, and return its path."""
    source = pathlib.Path(__file__).with_suffix(".cpp")
    program = directory / "error_budget"
    compiler = os.environ.get("CXX", "c++")
    include = f"-I{ROOT / 'cpp' / 'src'}"
    subprocess.run([compiler, *FLAGS, include, str(source), "-o", str(program)], check=True)
    return program


def measure(program: pathlib.Path, real: str, stride: int) -> list[dict[str, Any]]:
    """Run the program for one type, and return a row for each step, the number of inputs first."""
    command = [str(program), real, str(stride)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = []
    for line in text.splitlines():
        step, largest, magnitude = line.split("\t")
        rows.append(
            {
                "type": real,
                "step": step,
                "largest": float(f"{float(largest):.5g}"),
                "a": float(magnitude).hex(),
            }
        )
    return rows


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT / "docs" / "data" / "error_budget.json"
    parser.add_argument("--output", type=pathlib.Path, default=data, help="where numbers go")
    parser.add_argument("--quick", action="store_true", help="one input in 1021 of them")
    parser.add_argument("--date", help="a date to record")
    return parser.parse_args()


def main() -> int:
    """Compile, measure and write."""
    arguments = parse_arguments()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        program = compiled(pathlib.Path(directory))
        for real, stride in tracked(list(STRIDES.items()), "measuring"):
            factor = QUICK_FACTOR if arguments.quick else 1
            rows += measure(program, real, stride * factor)
    facts = provenance(arguments.date) | {"machine": platform.machine()}
    counts = {row["type"]: int(row["largest"]) for row in rows if row["step"] == "count"}
    steps = [row for row in rows if row["step"] != "count"]
    write_json(arguments.output, {"provenance": facts, "counts": counts, "results": steps})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
