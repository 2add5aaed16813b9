"""Measure the errors of loss, gradient and hessian, here and in other libraries, in ulp.

Every library is given the same logits with the labels 0 and 1, in float32 and float64, and held
against the oracle of the tests. There are three sets of logits:

format
    Finite numbers of the whole format, evenly spread over bit patterns: one at random (with a
    fixed seed) in each of as many equal parts.
middle
    Likewise from 2**-30 to 2**10 in size, where results are neither constant nor trivial.
line
    Evenly spaced from -110 to 110 (float32) or -750 to 750 (float64), past both ends of what
    exp(x) can represent.

The largest error is that over all three sets; shares are those of the line alone, so that they
say how much of a figure is wrong. A result is wholly wrong if it is not a number where it should
be one, or off by more than 2 ulp and by 100 % or more. Libraries that are not installed are
skipped by name.

Usage: ``python bench/python/accuracy.py``, then ``python bench/python/tables.py --write-tables``.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from peers import Peer, load_peers
from project import ROOT, oracle, provenance, tracked, write_json

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

OUTPUTS: Final = {"loss": "loss", "gradient": "grad", "hessian": "hess"}
LINE_END: Final = {"float32": 110.0, "float64": 750.0}
FIGURE_BINS: Final = 660
CHUNK: Final = 1 << 17
SEED: Final = 0


def spread_patterns(low: int, high: int, count: int) -> NDArray[np.uint64]:
    """Return one bit pattern at random in each of `count` equal parts from low to high."""
    rng = np.random.default_rng(SEED)
    step = (high - low) // count
    starts = np.arange(count, dtype=np.uint64) * np.uint64(step) + np.uint64(low)
    return np.asarray(starts + rng.integers(0, step, count, dtype=np.uint64))


def format_logits(dtype: np.dtype[Any], count: int) -> Array:
    """Return finite numbers of both signs, evenly spread over all bit patterns."""
    patterns = spread_patterns(0, 1 << 8 * dtype.itemsize, count)
    logits = patterns.astype(f"u{dtype.itemsize}").view(dtype)
    return np.asarray(logits[np.isfinite(logits)])


def middle_logits(dtype: np.dtype[Any], count: int) -> Array:
    """Return numbers from 2**-30 to 2**10 of both signs, evenly spread over bit patterns."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    low, high = (int(np.asarray(x, dtype).view(unsigned)) for x in (2.0**-30, 2.0**10))
    sizes = spread_patterns(low, high, count // 2).astype(unsigned).view(dtype)
    return np.concatenate([-sizes, sizes])


def line_logits(dtype: np.dtype[Any], count: int) -> Array:
    """Return numbers evenly spaced past both ends of the range of the exponential function."""
    end = LINE_END[dtype.name]
    return np.linspace(-end, end, count).astype(dtype)


SETS: Final = {"format": format_logits, "middle": middle_logits, "line": line_logits}


@dataclass
class Tally:
    """The errors of one output of one peer, for one dtype and label.

    Attributes
    ----------
    largest : float
        The largest error in ulp over all sets, and `at` the logit where it occurs.
    beyond, wholly, count : int
        Numbers of logits of the line: beyond 2 ulp, wholly wrong, and all.
    envelope : array
        The largest error in each bin of the line, for figures.
    """

    largest: float = -1.0
    at: float = 0.0
    beyond: int = 0
    wholly: int = 0
    count: int = 0
    envelope: Floats = field(default_factory=lambda: np.zeros(FIGURE_BINS))

    def see(self, logits: Array, errors: Floats) -> None:
        """Take note of the largest error."""
        worst = int(np.argmax(errors))
        if errors[worst] > self.largest:
            self.largest, self.at = float(errors[worst]), float(logits[worst])

    def see_line(self, logits: Array, errors: Floats, wholly: NDArray[np.bool_]) -> None:
        """Take note of shares and of what a figure shows."""
        self.beyond += int(np.count_nonzero(errors > 2.0))
        self.wholly += int(np.count_nonzero(wholly))
        self.count += errors.size
        end = LINE_END[logits.dtype.name]
        bins = (logits.astype(np.float64) + end) * (FIGURE_BINS / (2 * end))
        np.maximum.at(self.envelope, bins.astype(np.int64).clip(0, FIGURE_BINS - 1), errors)


@dataclass(frozen=True)
class Key:
    """What a tally belongs to."""

    peer: str
    dtype: str
    output: str
    label: int


def is_wholly_wrong(computed: Array, exact: Any, errors: Floats) -> NDArray[np.bool_]:
    """Tell where no digit is right."""
    with np.errstate(all="ignore"):
        off = abs(computed.astype(exact.dtype) - exact) >= abs(exact)
    return np.asarray((errors > 2.0) & (off | ~np.isfinite(computed)), dtype=np.bool_)


def chunks(logits: Array) -> Iterator[Array]:
    """Yield an array in pieces."""
    for first in range(0, logits.size, CHUNK):
        yield logits[first : first + CHUNK]


def measure_chunk(
    peers: list[Peer], name: str, logits: Array, label: int, tallies: dict[Key, Tally]
) -> None:
    """Add one chunk of one set of logits to the tallies of all peers."""
    dtype = logits.dtype
    targets = np.full(logits.shape, label, dtype)
    exact = oracle.elements(logits, targets)
    for peer in peers:
        with np.errstate(all="ignore"):
            results = peer.evaluate(logits, targets)
        for output, computed in results.items():
            wanted = getattr(exact, OUTPUTS[output])
            errors = oracle.ulp_error(computed, wanted, dtype)
            tally = tallies.setdefault(Key(peer.name, dtype.name, output, label), Tally())
            tally.see(logits, errors)
            if name == "line":
                tally.see_line(logits, errors, is_wholly_wrong(computed, wanted, errors))


def measure(peers: list[Peer], count: int) -> tuple[dict[Key, Tally], dict[str, Any]]:
    """Return all tallies, and how many logits each set holds."""
    work, sizes = [], {}
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for name, make in SETS.items():
            logits = make(dtype, count)
            sizes[f"{dtype.name}, {name}"] = logits.size
            work += [(name, piece, label) for piece in chunks(logits) for label in (0, 1)]
    tallies: dict[Key, Tally] = {}
    for name, logits, label in tracked(work, "measuring"):
        measure_chunk(peers, name, logits, label, tallies)
    return tallies, sizes


def at_infinities(peer: Peer, dtype: str, label: int) -> dict[str, list[float]]:
    """Return the results of one peer at -inf and at inf."""
    logits = np.array([-np.inf, np.inf], dtype)
    with np.errstate(all="ignore"):
        results = peer.evaluate(logits, np.full(2, label, dtype))
    return {output: [float(value) for value in values] for output, values in results.items()}


def right_at_infinities(output: str, label: int) -> list[float]:
    """Return the limits at -inf and at inf."""
    limits = {
        ("loss", 0): [0.0, np.inf],
        ("loss", 1): [np.inf, 0.0],
        ("gradient", 0): [0.0, 1.0],
        ("gradient", 1): [-1.0, 0.0],
    }
    return limits.get((output, label), [0.0, 0.0])


def records(tallies: dict[Key, Tally], peers: list[Peer]) -> list[dict[str, Any]]:
    """Return one row for each tally, fit for JSON."""
    by_name = {peer.name: peer for peer in peers}
    rows: list[dict[str, Any]] = []
    for key, tally in tallies.items():
        limits = at_infinities(by_name[key.peer], key.dtype, key.label)[key.output]
        rows.append(
            {
                "peer": key.peer,
                "dtype": key.dtype,
                "output": key.output,
                "label": key.label,
                "largest_ulp": float(f"{tally.largest:.6g}")
                if np.isfinite(tally.largest)
                else None,
                "logit": tally.at.hex(),
                "share_beyond_2_ulp": float(f"{tally.beyond / tally.count:.4g}"),
                "share_wholly_wrong": float(f"{tally.wholly / tally.count:.4g}"),
                "right_at_infinities": limits == right_at_infinities(key.output, key.label),
            }
        )
    order = {peer.name: number for number, peer in enumerate(peers)}
    outputs = list(OUTPUTS)
    rows.sort(key=lambda r: (r["dtype"], order[r["peer"]], outputs.index(r["output"]), r["label"]))
    return rows


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT / "docs" / "data" / "accuracy.json"
    parser.add_argument("--output", type=pathlib.Path, default=data, help="where numbers go")
    parser.add_argument(
        "--plot-directory", type=pathlib.Path, help="where figures go; none if left out"
    )
    parser.add_argument("--count", type=int, default=1 << 20, help="logits in each set")
    parser.add_argument("--quick", action="store_true", help="16384 logits in each set")
    parser.add_argument("--date", help="a date to record")
    return parser.parse_args()


def main() -> int:
    """Measure, and write numbers and figures."""
    arguments = parse_arguments()
    peers, missing = load_peers()
    for name, reason in missing.items():
        print(f"skipped: {name} ({reason})", file=sys.stderr)
    tallies, sizes = measure(peers, 1 << 14 if arguments.quick else arguments.count)
    data = {
        "provenance": provenance(arguments.date),
        "peers": [{"name": p.name, "version": p.version, "how": p.how} for p in peers],
        "skipped": sorted(missing),
        "logits": sizes,
        "results": records(tallies, peers),
    }
    write_json(arguments.output, data)
    if arguments.plot_directory is not None:
        import figures

        curves = {
            (k.peer, k.output, k.label): t.envelope
            for k, t in tallies.items()
            if k.dtype == "float32"
        }
        figures.draw(curves, LINE_END["float32"], arguments.plot_directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
