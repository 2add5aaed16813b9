"""``logitloss bench --ladder``: dtypes, options and layouts against a plain call, in one thread.

Every rung is the time of a call divided by the time of another one that is timed in turn with it,
and stands beside the bar that it should stay below.
"""

from __future__ import annotations

import dataclasses
import importlib
import json as json_module
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import logitloss
from logitloss.benchmark.measure import Effort, aligned_empty, interleaved
from logitloss.benchmark.peers import Array
from logitloss.benchmark.report import (
    duration,
    length,
    make_console,
    print_text,
    progress_bar,
    show,
)

__all__ = ["Rung", "run_ladder"]

Calls: TypeAlias = dict[str, Callable[[], object]]

_OPERATIONS: Final = ("loss", "loss+gradient")
_FULL: Final = Effort(seconds=6.0, fewest=7, most=101)
_QUICK: Final = Effort(seconds=0.8, fewest=3, most=31)
_CLASSES: Final = 128
_SMALL: Final = ((1, 0.60), (128, 0.45))
_FRESH_BAR: Final = 1.10


@dataclass(frozen=True)
class Rung:
    """One comparison.

    Attributes
    ----------
    name : str
        What is compared.
    against : str
        With what.
    operation : str
        ``'loss'`` or ``'loss+gradient'``.
    elements : int
        On how many elements.
    seconds : float
        The median time of the call.
    ratio : float
        That divided by the time of what it is compared with.
    bar : float or None
        What the ratio should not exceed.
    """

    name: str
    against: str
    operation: str
    elements: int
    seconds: float
    ratio: float
    bar: float | None

    @property
    def holds(self) -> bool:
        """Whether the ratio is within the bar, or there is none."""
        return self.bar is None or self.ratio <= self.bar


def run_ladder(sizes: Sequence[int], *, quick: bool, json: Path | None, progress: bool) -> int:
    """Measure all rungs and print them.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of elements; multiples of 128.
    quick : bool
        Whether to measure for a short time.
    json : Path or None
        Where to write the results.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    int
        0; 1 if the results could not be written. A rung above its bar is printed and no error,
        because times on a shared machine are not fit to fail a program.
    """
    from logitloss.benchmark.run import machine_facts

    console = make_console()
    facts = machine_facts()
    print_text(
        console,
        f"logitloss {facts['logitloss']} ({facts['isa']}, {facts['compiler']}) on "
        f"{facts['processor']}, 1 thread, medians of calls timed in turn",
    )
    effort = _QUICK if quick else _FULL
    wholes = [max(1, size // _CLASSES) * _CLASSES for size in sizes]
    before = logitloss.get_num_threads()
    logitloss.set_num_threads(1)
    rungs: list[Rung] = []
    try:
        with progress_bar(3 * len(wholes) + 1, "measuring", shown=progress) as advance:
            for elements in wholes:
                for operation in _OPERATIONS:
                    rungs += _measure_options(operation, elements, effort)
                    advance(f"{operation}, {elements} elements")
                rungs.append(_measure_fresh(elements, effort))
                advance(f"without out=, {elements} elements")
            rungs += _measure_small(effort)
            advance("small calls")
    finally:
        logitloss.set_num_threads(before)
    for table in _tables(console, rungs):
        print_text(console, "")
        show(console, table)
    print_text(console, "\n* is above its bar.")
    if not any(rung.name == "small call" for rung in rungs):
        print_text(console, "Small calls are left out; they need: pip install scikit-learn")
    if json is not None:
        document = {"facts": facts, "rungs": [dataclasses.asdict(rung) for rung in rungs]}
        try:
            json.write_text(json_module.dumps(document, indent=1) + "\n")
        except OSError as error:
            reason = error.strerror or error
            print(f"logitloss bench: cannot write {str(json)!r}: {reason}", file=sys.stderr)
            return 1
        print_text(console, f"\nWritten: {json}")
    return 0


# --- Options and layouts ---------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """A call to be compared with the plain one of the same logits' dtype."""

    name: str
    bar: float | None
    logits: Array
    targets: Array
    gradient: Array
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def _float16_kinds() -> Iterator[tuple[str, Any]]:
    yield "float16", np.float16
    try:
        yield "bfloat16", importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        return


def _copied(source: Array, dtype: Any) -> Array:
    target = aligned_empty(source.size, dtype)
    target[...] = source
    return target


def _spread(source: Array) -> Array:
    """Return every second element of an array that is twice as long."""
    wide = np.zeros(2 * source.size, source.dtype)
    wide[::2] = source
    return wide[::2]


def _cases(elements: int) -> list[_Case]:
    random = np.random.default_rng(3)
    x = _copied(3 * random.standard_normal(elements), np.float32)
    y = _copied(random.integers(0, 2, elements), np.float32)
    g = _copied(x, np.float32)
    matrix = (elements // _CLASSES, _CLASSES)
    xm, ym, gm = (array.reshape(matrix) for array in (x, y, g))
    # As square as it can be; where a side is a power of two, that is the hardest for caches.
    rows = 1 << (elements.bit_length() // 2)
    square = (rows, elements // rows) if elements % rows == 0 else matrix
    xs, ys, gs = (array.reshape(square) for array in (x, y, g))
    xf, yf, gf = (np.asfortranarray(array) for array in (xs, ys, gs))
    each = _copied(random.uniform(0.5, 1.5, elements), np.float32)
    per_class = random.uniform(0.5, 1.5, _CLASSES).astype(np.float32)
    mask = random.random(elements) < 0.9
    missing = np.where(mask, y, np.float32(-1))
    small_missing = np.where(mask, y, 255).astype(np.uint8)
    weights = {"weight": per_class, "pos_weight": per_class[::-1].copy()}
    small = {kind: y.astype(kind) for kind in (np.uint8, np.int8, np.bool_)}

    cases = [
        _Case("uint8 targets", 0.95, x, small[np.uint8], g),
        _Case("int8 targets", 0.95, x, small[np.int8], g),
        _Case("bool targets", 0.95, x, small[np.bool_], g),
    ]
    for name, kind in _float16_kinds():
        half = x.astype(kind)
        out = np.zeros_like(half)
        cases.append(_Case(f"{name} logits, uint8 targets", 0.80, half, small[np.uint8], out))
    cases += [
        _Case("weight and pos_weight per class", 1.30, xm, ym, gm, weights),
        _Case("pos_weight per class", 1.30, xm, ym, gm, {"pos_weight": per_class}),
        _Case("weight for each element", None, x, y, g, {"weight": each}),
        _Case("where", 1.30, x, y, g, {"where": mask}),
        _Case("ignore_index=-1", 1.30, x, missing, g, {"ignore_index": -1}),
        _Case("ignore_index=255, uint8 targets", 1.30, x, small_missing, g, {"ignore_index": 255}),
        _Case("label smoothing", 1.30, x, y, g, {"label_smoothing": 0.1}),
        _Case("every second element", None, _spread(x), _spread(y), g),
        _Case("Fortran order, all arrays", 1.30, xf, yf, gf),
        _Case("Fortran order, inputs", None, xf, yf, gs),
        _Case("Fortran order, targets", None, xs, yf, gs),
        _Case("axis=0", 1.15, xm, ym, gm, {"axis": 0}),
        _Case("axis=1", 1.15, xm, ym, gm, {"axis": 1}),
    ]
    return [_Case("plain", None, x, y, g), *cases]


def _call(case: _Case, operation: str) -> Callable[[], object]:
    loss, both = logitloss.bce_with_logits, logitloss.bce_with_logits_value_and_grad
    x, y, g, options = case.logits, case.targets, case.gradient, case.options
    if operation == "loss":
        return lambda: loss(x, y, **options)
    return lambda: both(x, y, out=g, **options)


def _measure_options(operation: str, elements: int, effort: Effort) -> Iterator[Rung]:
    cases = _cases(elements)
    timings = interleaved({case.name: _call(case, operation) for case in cases}, effort)
    plain = timings["plain"].seconds
    for case in cases:
        seconds = timings[case.name].seconds
        yield Rung(case.name, "plain", operation, elements, seconds, seconds / plain, case.bar)


# --- Fresh outputs and small calls -----------------------------------------------------


def _measure_fresh(elements: int, effort: Effort) -> Rung:
    """Compare a call that makes its output with one that is given it plus NumPy's first touch."""
    case = _cases(elements)[0]
    x, y, g = case.logits, case.targets, case.gradient
    both = logitloss.bce_with_logits_value_and_grad
    elements_of_page = 4096 // g.itemsize

    def touch() -> None:
        np.empty_like(g)[::elements_of_page] = 0

    timings = interleaved(
        {
            "fresh": lambda: both(x, y),
            "given": lambda: both(x, y, out=g),
            "touch": touch,
        },
        effort,
    )
    fresh = timings["fresh"].seconds
    other = timings["given"].seconds + timings["touch"].seconds
    return Rung(
        "without out=",
        "with out= and a first touch by NumPy",
        "loss+gradient",
        elements,
        fresh,
        fresh / other,
        _FRESH_BAR,
    )


def _measure_small(effort: Effort) -> Iterator[Rung]:
    """Compare small calls with scikit-learn's private one, if it is installed."""
    try:
        half_binomial: Any = importlib.import_module("sklearn._loss").HalfBinomialLoss()
    except (ImportError, AttributeError):
        return
    both = logitloss.bce_with_logits_value_and_grad
    for elements, bar in _SMALL:
        x, y, g, losses = (np.zeros(elements, np.float32) for _ in range(4))

        def ours(x: Array = x, y: Array = y, g: Array = g) -> object:
            return both(x, y, out=g)

        def theirs(x: Array = x, y: Array = y, g: Array = g, losses: Array = losses) -> object:
            # Outputs are given and one thread is used, which is the fastest that it can do.
            return half_binomial.loss_gradient(y, x, None, losses, g, 1)

        timings = interleaved({"ours": ours, "theirs": theirs}, effort)
        seconds = timings["ours"].seconds
        yield Rung(
            "small call",
            "HalfBinomialLoss.loss_gradient of scikit-learn",
            "loss+gradient",
            elements,
            seconds,
            seconds / timings["theirs"].seconds,
            bar,
        )


# --- Output ----------------------------------------------------------------------------


def _tables(console: Console, rungs: Sequence[Rung]) -> Iterator[Table]:
    options = [rung for rung in rungs if rung.against == "plain"]
    for elements in dict.fromkeys(rung.elements for rung in options):
        some = [rung for rung in options if rung.elements == elements]
        table = _new_table(console, f"{length(elements)} elements, against the plain call")
        for heading in ("", "bar", *_OPERATIONS):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for name in dict.fromkeys(rung.name for rung in some):
            found = {rung.operation: rung for rung in some if rung.name == name}
            bar = found["loss"].bar
            table.add_row(
                name,
                "" if bar is None else f"{bar:.2f}",
                *(
                    duration(found[key].seconds) if name == "plain" else _ratio(found[key])
                    for key in _OPERATIONS
                ),
            )
        yield table
    others = [rung for rung in rungs if rung.against != "plain"]
    table = _new_table(console, "loss+gradient against other calls")
    for heading in ("", "elements", "against", "time", "bar", "ratio"):
        words = heading in ("", "against")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    for rung in others:
        table.add_row(
            rung.name,
            length(rung.elements),
            rung.against,
            duration(rung.seconds),
            "" if rung.bar is None else f"{rung.bar:.2f}",
            _ratio(rung),
        )
    yield table


def _new_table(console: Console, title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if console.is_terminal else box.SIMPLE,
        pad_edge=False,
    )


def _ratio(rung: Rung) -> Text:
    """Return the ratio, marked where it is above its bar."""
    if rung.holds:
        return Text(f"{rung.ratio:.2f} ")
    return Text(f"{rung.ratio:.2f}*", style="red")
