"""Write the tables of docs/numerics.md from the data files, or check that they are up to date.

A table stands between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``. Needs nothing but
Python's standard library.

Usage: ``python bench/python/tables.py --write-tables``, ``python bench/python/tables.py
--check-tables``.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

ROOT: Final = pathlib.Path(__file__).resolve().parents[2]
DATA: Final = ROOT / "docs" / "data"
DOCUMENT: Final = ROOT / "docs" / "numerics.md"
EXHAUSTIVE: Final = ROOT / "tests" / "cpp" / "exhaustive.tsv"

Row: TypeAlias = dict[str, Any]

OUTPUTS: Final = ("loss", "gradient", "hessian")

# What is shown of the error budget: the step, where it stands, and its rows in the data.
STEPS: Final = (
    ("r, the reduced argument", "`exponential.h`", "r, in ulp of e", None),
    ("s = exp(r) - 1", "`exponential.h`", "e in two parts", "s, own, in ulp of e"),
    ("e, its high part alone", "`exponential.h`", "e, normal", None),
    ("e, subnormal", "`exponential.h`", "e, subnormal", None),
    ("t = e / (1 + e)", "`logistic.h`", "t", "t, own"),
    ("t, if the low part of e were dropped", "", "t, low dropped", None),
    ("log1p(e)", "`logarithm.h`", "log1p", "log1p, own"),
    ("log1p(e), if the low part of e were dropped", "", "log1p, low dropped", None),
    ("loss, right label: log1p(e)", "`binary_cross_entropy.h`", "log1p", None),
    ("loss, wrong label: a + log1p(e)", "`binary_cross_entropy.h`", "loss", "loss, own"),
    ("gradient, right label: t", "`binary_cross_entropy.h`", "t", None),
    ("gradient, wrong label: 1 - t", "`binary_cross_entropy.h`", "1 - t", "1 - t, own"),
    ("hessian: t (1 - t)", "`binary_cross_entropy.h`", "hessian", "hessian, own"),
    ("subnormal loss, gradient or hessian", "", "subnormal", None),
)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(name: str) -> Any:
    """Return a data file's content."""
    return json.loads((DATA / name).read_text())


def provenance(facts: Row) -> str:
    """Return a sentence on how numbers were made."""
    date = f", {facts['date']}" if "date" in facts else ""
    return (
        f"Processor: {facts['processor']}, {facts['isa']}; compiler: {facts['compiler']}; "
        f"Python {facts['python']}, NumPy {facts['numpy']}{date}."
    )


def two_decimals(value: float) -> str:
    """Return a largest error, rounded upwards so that it stays a bound."""
    hundredths = -int(-value * 100 // 1)
    return f"{hundredths / 100:.2f}"


def thousands(number: int) -> str:
    """Return a number with thin gaps between groups of three digits."""
    return f"{number:,}".replace(",", "\u202f")


def exhaustive() -> str:
    """Return the table of all float32 logits."""
    if not EXHAUSTIVE.exists():
        return f"(`{EXHAUSTIVE.relative_to(ROOT)}` is not there.)"
    lines = EXHAUSTIVE.read_text().splitlines()
    notes = [line.lstrip("# ") for line in lines if line.startswith("#")]
    cells = [line.split("\t") for line in lines if line and not line.startswith("#")]
    head = ["instruction set", "output", "label", "largest error, ulp", "logit x"]
    rows = [
        [isa, output, label, two_decimals(float(error)), f"`{logit}` ({float.fromhex(logit):.6g})"]
        for isa, output, label, error, logit in cells[1:]
    ]
    return " \\\n".join(notes) + "\n\n" + markdown(head, rows)


def worst_cases() -> str:
    """Return the table of the worst float64 logits that were found."""
    data = read("worst_cases.json")
    rows = [
        [
            r["output"],
            str(r["label"]),
            two_decimals(r["largest_ulp"]),
            f"`{r['logit']}` ({r['decimal']:.6g})",
        ]
        for r in data["results"]
    ]
    note = f"{data['evaluated'] / 1e6:.0f} million logits were evaluated. "
    head = ["output", "label", "largest error found, ulp", "logit x"]
    return note + provenance(data["provenance"]) + "\n\n" + markdown(head, rows)


def error_budget() -> str:
    """Return the table of the steps."""
    data = read("error_budget.json")
    found = {(r["type"], r["step"]): r["largest"] for r in data["results"]}

    def cell(real: str, step: str | None) -> str:
        if step is None:
            return ""
        if step == "subnormal":
            kinds = ("log1p, subnormal", "t, subnormal", "hessian, subnormal")
            return two_decimals(max(found[real, kind] for kind in kinds))
        return two_decimals(found[real, step])

    rows = [
        [
            name,
            where,
            cell("float", own),
            cell("float", all_in),
            cell("double", own),
            cell("double", all_in),
        ]
        for name, where, all_in, own in STEPS
    ]
    head = ["step", "in", "float32: adds", "float32: in all", "float64: adds", "float64: in all"]
    counts = {real: thousands(count) for real, count in data["counts"].items()}
    note = f"{counts['float']} magnitudes of float32 and {counts['double']} of float64. "
    return note + provenance(data["provenance"]) + "\n\n" + markdown(head, rows)


def options() -> str:
    """Return the table of soft targets, weights and reductions."""
    data = read("options.json")
    cases = dict.fromkeys(r["case"] for r in data["results"] if "not_nearest" not in r)
    found = {(r["case"], r["dtype"], r["output"]): r["largest"] for r in data["results"]}
    rows = []
    for case in cases:
        line = [case]
        for dtype in ("float32", "float64"):
            for output in OUTPUTS:
                value = found.get((case, dtype, output))
                line.append("" if value is None else two_decimals(value))
        rows.append(line)
    head = [
        "case",
        *(f"{dtype} {output}" for dtype in ("float32", "float64") for output in OUTPUTS),
    ]
    note = f"{thousands(data['count'])} elements in each case. "
    return note + provenance(data["provenance"]) + "\n\n" + markdown(head, rows)


def small_formats() -> str:
    """Return the table of the 16-bit formats."""
    rows = [
        [
            r["dtype"],
            r["output"],
            f"{r['largest']:.5f}",
            f"{r['not_nearest']} of {thousands(r['count'])}",
        ]
        for r in read("options.json")["results"]
        if "not_nearest" in r
    ]
    head = ["dtype", "output", "largest error, ulp", "not the nearest number"]
    return markdown(head, rows)


def percentage(share: float) -> str:
    """Return a share, short."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 0.95 else "< 1 %"


def size(error: float) -> str:
    """Return an error of any magnitude, short."""
    if error < 1000:
        return two_decimals(error) if error < 10 else f"{error:.0f}"
    mantissa, exponent = f"{error:.0e}".split("e")
    return f"{mantissa}·10{superscript(int(exponent))}"


def superscript(number: int) -> str:
    """Return a number in raised digits."""
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def accuracy_cell(row: Row | None) -> str:
    """Return the largest error, and the shares where there is something to say."""
    if row is None:
        return ""
    text = "NaN" if row["largest_ulp"] is None else size(row["largest_ulp"])
    if row["share_beyond_2_ulp"]:
        text += f"; {percentage(row['share_beyond_2_ulp'])}"
    if row["share_wholly_wrong"]:
        text += f"; {percentage(row['share_wholly_wrong'])}"
    return text


def accuracy(dtype: str) -> str:
    """Return the comparison of one dtype."""
    data = read("accuracy.json")
    found = {
        (r["peer"], r["output"], r["label"]): r for r in data["results"] if r["dtype"] == dtype
    }
    columns = [("loss", 0), ("loss", 1), ("gradient", 0), ("gradient", 1), ("hessian", 0)]
    rows = []
    for peer in data["peers"]:
        name = peer["name"]
        mine = [r for (who, _, _), r in found.items() if who == name]
        at_infinity = "right" if all(r["right_at_infinities"] for r in mine) else "NaN"
        cells = [accuracy_cell(found.get((name, *column))) for column in columns]
        rows.append([name, *cells, at_infinity])
    titles = ["loss, y = 0", "loss, y = 1", "gradient, y = 0", "gradient, y = 1", "hessian"]
    return markdown([dtype, *titles, "x = ±inf"], rows)


def peers() -> str:
    """Return what was measured of each library."""
    data = read("accuracy.json")
    rows = [[p["name"], p["version"], f"`{p['how']}`"] for p in data["peers"]]
    counts = sum(count for name, count in data["logits"].items() if name.startswith("float32"))
    note = f"{thousands(counts)} logits of each dtype, both labels. "
    return (
        note
        + provenance(data["provenance"])
        + "\n\n"
        + markdown(["name", "version", "what was called"], rows)
    )


TABLES: Final[dict[str, Callable[[], str]]] = {
    "exhaustive": exhaustive,
    "worst-cases": worst_cases,
    "error-budget": error_budget,
    "options": options,
    "small-formats": small_formats,
    "peers": peers,
    "accuracy-float32": lambda: accuracy("float32"),
    "accuracy-float64": lambda: accuracy("float64"),
}


def with_tables(text: str) -> str:
    """Return a document with every table between its marks made anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
        before, found_begin, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"the document has no marks {begin.strip()} and {end}")
        text = f"{before}{begin}\n{make()}\n\n{end}{after}"
    return text


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--write-tables",
        nargs="?",
        type=pathlib.Path,
        const=DOCUMENT,
        metavar="DOCUMENT",
        help="write the tables",
    )
    what.add_argument(
        "--check-tables",
        nargs="?",
        type=pathlib.Path,
        const=DOCUMENT,
        metavar="DOCUMENT",
        help="exit with 1 if a table is out of date",
    )
    return parser.parse_args()


def main() -> int:
    """Write or check."""
    arguments = parse_arguments()
    path = arguments.write_tables or arguments.check_tables
    text = path.read_text()
    made = with_tables(text)
    if arguments.write_tables:
        path.write_text(made)
        return 0
    if made != text:
        print(
            f"{path}: tables differ from what {pathlib.Path(__file__).name} writes", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
