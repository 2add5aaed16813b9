"""Measures with one number of threads, in a process of its own.

Run as ``python -m logitloss.benchmark.worker SPEC``; SPEC is JSON with the names of the peers, the
case, the dtypes, the sizes, the number of threads and the effort. Each line on standard output is
an event in JSON: ``{"event": "version", ...}``, ``{"event": "missing", ...}``,
``{"event": "step", ...}`` or ``{"event": "row", ...}``. `environment` has to be set before the
process starts, because some libraries look at it only once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from logitloss.benchmark.measure import OPERATIONS, Effort, cells, measure_cell
from logitloss.benchmark.peers import LIBRARIES, Case, Peer

__all__ = ["Emit", "environment", "measure_all"]

Emit: TypeAlias = Callable[[dict[str, Any]], None]


def environment(threads: int) -> dict[str, str]:
    """Return the variables that make every library use so many threads.

    Parameters
    ----------
    threads : int
        How many.
    """
    count = str(threads)
    names = (
        "LOGITLOSS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMEXPR_MAX_THREADS",
        # What XLA, which compiles for JAX, takes for the number of processors.
        "NPROC",
        "PJRT_NPROC",
    )
    variables = dict.fromkeys(names, count)
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        variables["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return variables


def measure_all(
    peers: Sequence[Peer],
    case: Case,
    dtypes: Sequence[str],
    sizes: Sequence[int],
    threads: int,
    effort: Effort,
    emit: Emit,
) -> None:
    """Measure all problems and report each as it is done.

    Parameters
    ----------
    peers : sequence of Peer
        What to measure.
    case : str
        ``'plain'`` or ``'weighted'``.
    dtypes, sizes : sequence
        On what.
    threads : int
        How many threads the peers were loaded with.
    effort : Effort
        How long to measure.
    emit : callable
        Takes the events.
    """
    for dtype, elements, operation in cells(OPERATIONS, dtypes, sizes):
        for row in measure_cell(peers, case, operation, dtype, elements, threads, effort):
            emit({"event": "row", "row": dataclasses.asdict(row)})
        emit({"event": "step"})


def _load(names: Sequence[str], threads: int, emit: Emit) -> list[Peer]:
    peers = []
    for name in names:
        try:
            peer = LIBRARIES[name].load(threads)
        except Exception as error:
            # A library that is there but cannot be used must not stop the others.
            emit({"event": "missing", "peer": name, "reason": f"{type(error).__name__}: {error}"})
            continue
        emit({"event": "version", "peer": name, "version": str(peer.version)})
        peers.append(peer)
    return peers


def main() -> int:
    """Do what the command line says."""
    # Libraries that print must not get between the events.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        print(json.dumps(event), file=events, flush=True)

    spec = json.loads(sys.argv[1])
    threads = spec["threads"]
    peers = _load(spec["peers"], threads, emit)
    effort = Effort(**spec["effort"])
    measure_all(peers, spec["case"], spec["dtypes"], spec["sizes"], threads, effort, emit)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
