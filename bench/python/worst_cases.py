"""Search float64 logits for the largest errors of loss, gradient and hessian.

The search has three stages.

1. Candidates: every cell of 1/32 of a binade from 2**-60 to 2**10 is sampled, on both sides of
   zero. So are the places where something changes: where -x / ln 2 is half an integer (the
   reduction steps to the next power of two), where exp(-|x|), log1p(exp(-|x|)), the loss, the
   gradient and the hessian pass powers of two, the powers of two themselves, and the results
   around the smallest normal and subnormal numbers.
2. Refinement: the cells with the largest errors are sampled again, much more densely, and so are
   the best cells within them.
3. Climbing: the worst inputs are moved by random steps of 1 to 2**40 bit patterns, and the worst
   are kept, round after round.

These stages compare with `numpy.longdouble`. What they find is then evaluated with mpmath at
200 bits (60 decimal digits), and those are the errors that are reported. Both labels are
evaluated; that they mirror each other is checked, not assumed.
"""

from __future__ import annotations

import argparse
import pathlib
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import mpmath
import numpy as np
from numpy.typing import NDArray

import logitloss
from project import ROOT, oracle, provenance, tracked, write_json

Floats: TypeAlias = NDArray[np.float64]

OUTPUTS: Final = {"loss": "loss", "gradient": "grad", "hessian": "hess"}
CHUNK: Final = 1 << 17
CELL_BITS: Final = 47
KEPT: Final = 64


@dataclass(frozen=True)
class Effort:
    """How much of each stage is done.

    Attributes
    ----------
    samples : int
        Logits in each cell of the first stage.
    refined : int
        Logits in each refinement, of which there are two.
    rounds, offspring : int
        Rounds of climbing, and candidates in each for each of the inputs that are kept.
    """

    samples: int = 300
    refined: int = 6_000_000
    rounds: int = 150
    offspring: int = 96


QUICK: Final = Effort(samples=8, refined=100_000, rounds=5, offspring=16)


def results(logits: Floats, label: int) -> dict[str, Floats]:
    """Return the package's results by name."""
    targets = np.full(logits.shape, label, np.int8)
    loss = logitloss.bce_with_logits(logits, targets, reduction="none")
    gradient, hessian = logitloss.bce_with_logits_grad_hess(logits, targets, reduction="none")
    return {"loss": np.asarray(loss), "gradient": gradient, "hessian": hessian}


def errors(
    logits: Floats, label: int, arithmetic: oracle.Arithmetic = oracle.ARITHMETIC
) -> dict[str, Floats]:
    """Return the errors in ulp by name."""
    exact = oracle.elements(logits, np.full(logits.shape, label), arithmetic=arithmetic)
    return {
        name: oracle.ulp_error(
            computed, getattr(exact, OUTPUTS[name]), np.float64, arithmetic=arithmetic
        )
        for name, computed in results(logits, label).items()
    }


@dataclass
class Best:
    """The inputs with the largest errors of one output, the worst first."""

    logits: Floats = field(default_factory=lambda: np.zeros(0))
    errors: Floats = field(default_factory=lambda: np.zeros(0))

    def see(self, logits: Floats, new: Floats, kept: int) -> None:
        """Take in new inputs, and keep the worst, at most one of each."""
        some = np.argsort(-new)[:kept]
        unique, first = np.unique(np.concatenate([self.logits, logits[some]]), return_index=True)
        all_errors = np.concatenate([self.errors, new[some]])[first]
        order = np.argsort(-all_errors)[:kept]
        self.logits, self.errors = unique[order], all_errors[order]


class Search:
    """The worst inputs so far, for the label 0; the label 1 mirrors it."""

    def __init__(self) -> None:
        self.best = {name: Best() for name in OUTPUTS}
        self.cells: dict[str, dict[int, float]] = {name: {} for name in OUTPUTS}
        self.evaluated = 0
        self.rng = np.random.default_rng(7)

    def see(self, logits: Floats) -> None:
        """Evaluate logits, and remember the worst inputs and the largest error of each cell."""
        for first in range(0, logits.size, CHUNK):
            piece = logits[first : first + CHUNK]
            cells = piece.view(np.uint64) >> np.uint64(CELL_BITS)
            for name, new in errors(piece, 0).items():
                self.best[name].see(piece, new, KEPT)
                self.see_cells(name, cells, new)
            self.evaluated += piece.size

    def see_cells(self, name: str, cells: NDArray[np.uint64], new: Floats) -> None:
        """Remember the largest error of each cell."""
        unique, inverse = np.unique(cells, return_inverse=True)
        largest = np.zeros(unique.size)
        np.maximum.at(largest, inverse, new)
        known = self.cells[name]
        for cell, error in zip(unique.tolist(), largest.tolist(), strict=True):
            known[cell] = max(known.get(cell, 0.0), error)

    def within(self, cells: list[int], count: int) -> Floats:
        """Return random numbers of the given cells."""
        starts = self.rng.choice(np.array(cells, np.uint64), count) << np.uint64(CELL_BITS)
        low_bits = self.rng.integers(0, 1 << CELL_BITS, count, dtype=np.uint64)
        return np.asarray((starts | low_bits).view(np.float64))

    def refine(self, count: int, kept: int) -> None:
        """Sample the cells with the largest errors of each output again."""
        for known in tracked(list(self.cells.values()), "refining"):
            worst = sorted(known, key=lambda cell: -known[cell])[:kept]
            for _ in range(0, count, CHUNK):
                self.see(self.within(worst, min(CHUNK, count)))

    def climb(self, rounds: int, offspring: int) -> None:
        """Move the worst inputs by random steps, and keep the worst."""
        for _ in tracked(range(rounds), "climbing"):
            parents = np.concatenate([best.logits for best in self.best.values()])
            patterns = np.repeat(parents.view(np.int64), offspring)
            sizes = np.exp2(self.rng.uniform(0, 40, patterns.size)).astype(np.int64)
            steps = sizes * self.rng.choice(np.array([-1, 1]), patterns.size)
            self.see(np.asarray((patterns + steps).view(np.float64)))


def cell_of(x: float) -> int:
    """Return the cell of a positive number."""
    return int(np.asarray(x, np.float64).view(np.uint64)) >> CELL_BITS


def all_cells() -> list[int]:
    """Return the cells from 2**-60 to 2**10 on both sides of zero."""
    sign = 1 << (63 - CELL_BITS)
    sizes = range(cell_of(2.0**-60), cell_of(2.0**10))
    return [*sizes, *(cell | sign for cell in sizes)]


def centres() -> Floats:
    """Return the places where something changes, as magnitudes."""
    context = mpmath.MPContext()
    context.dps = 40
    ln2 = context.log(2)
    places = [ln2 * (2 * n + 1) / 2 for n in range(1076)]
    # exp(-a), log1p(exp(-a)) and the hessian pass powers of two.
    places += [ln2 * n for n in range(1, 1076)]
    for n in range(1, 60):
        power = context.mpf(2) ** -n
        places.append(-context.log(context.expm1(power)))
        places.append(context.log(1 / power - 1) if n > 1 else context.mpf(2) ** -60)
        places.append(-context.log((1 - context.sqrt(1 - 4 * power)) / 2) if n > 2 else ln2)
    # a + log1p(exp(-a)) does, for results above ln 2.
    places += [context.log(context.expm1(context.mpf(2) ** n)) for n in range(10)]
    places += [context.mpf(2) ** n for n in range(-60, 10)]
    return np.array([float(abs(place)) for place in places])


def near(places: Floats, each: int, rng: np.random.Generator) -> Floats:
    """Return logits next to the places, most of them very near, on both sides of zero."""
    patterns = np.repeat(places.view(np.int64), each)
    distance = np.exp2(rng.uniform(0, 44, patterns.size)).astype(np.int64)
    sizes = (patterns + distance * rng.choice(np.array([-1, 1]), patterns.size)).view(np.float64)
    return np.asarray(sizes * rng.choice(np.array([-1.0, 1.0]), sizes.size))


def search(effort: Effort) -> Search:
    """Return what all stages have found."""
    state = Search()
    cells = all_cells()
    for _ in tracked(range(effort.samples), "sampling"):
        starts = np.array(cells, np.uint64) << np.uint64(CELL_BITS)
        low_bits = state.rng.integers(0, 1 << CELL_BITS, starts.size, dtype=np.uint64)
        state.see(np.asarray((starts | low_bits).view(np.float64)))
    state.see(near(centres(), 4 * effort.samples, state.rng))
    ends = state.rng.uniform(700.0, 746.0, effort.samples * 1000)
    state.see(ends * state.rng.choice(np.array([-1.0, 1.0]), ends.size))
    state.refine(effort.refined, 64)
    state.refine(effort.refined, 8)
    state.climb(effort.rounds, effort.offspring)
    return state


def confirmed(state: Search) -> list[dict[str, Any]]:
    """Return the largest errors with mpmath, for both labels."""
    rows: list[dict[str, Any]] = []
    for name, best in state.best.items():
        for label in (0, 1):
            logits = best.logits if label == 0 else -best.logits
            exact = errors(logits, label, oracle.MPMATH)[name]
            worst = int(np.argmax(exact))
            rows.append(
                {
                    "output": name,
                    "label": label,
                    "largest_ulp": round(float(exact[worst]), 4),
                    "logit": float(logits[worst]).hex(),
                    "decimal": float(logits[worst]),
                }
            )
    check_mirrored(state)
    return rows


def check_mirrored(state: Search) -> None:
    """Check that the labels mirror each other at the inputs found, bit for bit."""
    for best in state.best.values():
        zero, one = results(best.logits, 0), results(-best.logits, 1)
        for name, sign in (("loss", 1.0), ("gradient", -1.0), ("hessian", 1.0)):
            if not np.array_equal(zero[name], sign * one[name]):
                raise AssertionError(f"the {name} of the two labels differs")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT / "docs" / "data" / "worst_cases.json"
    parser.add_argument("--output", type=pathlib.Path, default=data, help="where numbers go")
    parser.add_argument("--quick", action="store_true", help="a small part of the search")
    parser.add_argument("--date", help="a date to record")
    return parser.parse_args()


def main() -> int:
    """Search, confirm and write."""
    arguments = parse_arguments()
    state = search(QUICK if arguments.quick else Effort())
    rows = confirmed(state)
    for row in rows:
        print(f"{row['output']}, y = {row['label']}: {row['largest_ulp']} ulp at {row['logit']}")
    data = {
        "provenance": provenance(arguments.date),
        "evaluated": state.evaluated,
        "results": rows,
    }
    write_json(arguments.output, data)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
