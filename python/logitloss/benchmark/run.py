"""``logitloss bench``: runs the measurements, and prints, writes and draws the results."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

import logitloss
from logitloss.benchmark.measure import (
    CEILING_CALLS,
    GRADIENT_TOLERANCE,
    LOSS_TOLERANCE,
    OPERATIONS,
    Effort,
    Row,
    Timing,
    cells,
)
from logitloss.benchmark.peers import CASES, LIBRARIES, OURS, Case
from logitloss.benchmark.report import (
    Advance,
    length,
    make_console,
    print_text,
    progress_bar,
    show,
    tables,
)
from logitloss.benchmark.worker import environment

__all__ = ["Settings", "run_bench"]

_FULL: Final = Effort(seconds=3.0, fewest=5, most=101)
_QUICK: Final = Effort(seconds=0.4, fewest=3, most=31)


@dataclass(frozen=True)
class Settings:
    """The options of the command.

    Attributes
    ----------
    peers : sequence of str
        Names of installed libraries; this package itself is always measured.
    sizes : sequence of int
        Numbers of elements.
    dtypes : sequence of str
        Dtypes of logits and targets.
    threads : sequence of int
        Numbers of threads.
    case : str
        What is computed, one of `CASES`.
    quick : bool
        Whether to measure for a short time.
    plot, json : Path or None
        Where to draw and to write the results.
    progress : bool
        Whether to show a progress bar where the error output is a terminal.
    """

    peers: Sequence[str]
    sizes: Sequence[int]
    dtypes: Sequence[str]
    threads: Sequence[int]
    case: Case = "plain"
    quick: bool = False
    plot: Path | None = None
    json: Path | None = None
    progress: bool = True

    @property
    def effort(self) -> Effort:
        """How long to measure."""
        return _QUICK if self.quick else _FULL


@dataclass
class Results:
    """What the worker processes reported."""

    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def run_bench(settings: Settings) -> int:
    """Measure, and report.

    Parameters
    ----------
    settings : Settings
        The options of the command.

    Returns
    -------
    int
        0, or 1 if this package itself gave a wrong answer, a measurement broke off or a result
        could not be written.
    """
    console = make_console()
    facts = machine_facts()
    print_text(console, _headline(facts))
    results = measure(settings)
    for table in tables(console, results.rows):
        print_text(console, "")
        show(console, table)
    print_text(console, _legend(settings.case, results))
    return 1 if _finish(console, settings, facts, results) else 0


def _finish(
    console: Console, settings: Settings, facts: dict[str, Any], results: Results
) -> list[str]:
    """Write and draw, and return and print what went wrong in all."""
    faults = results.faults + [
        f"the answer of logitloss itself is {row.state} ({row.reason})"
        for row in results.rows
        if row.peer == OURS and row.timing is None
    ]
    if settings.json is not None:
        document = json.dumps(as_document(settings, facts, results), indent=1) + "\n"

        def write(path: Path) -> list[Path]:
            path.write_text(document)
            return [path]

        faults += _try_to_write(console, settings.json, write)
    if settings.plot is not None:
        from logitloss.benchmark.plot import draw

        timed = [row for row in results.rows if row.timing is not None]
        if timed:
            faults += _try_to_write(
                console, settings.plot, lambda path: draw(path, timed, _headline(facts))
            )
    for fault in faults:
        print(f"logitloss bench: {fault}", file=sys.stderr)
    return faults


def _try_to_write(console: Console, path: Path, write: Callable[[Path], list[Path]]) -> list[str]:
    """Write files and say which, or return a sentence that says why not."""
    try:
        paths = write(path)
    except OSError as error:
        return [f"cannot write {str(path)!r}: {error.strerror or error}"]
    print_text(console, f"Written: {', '.join(map(str, paths))}")
    return []


# --- Measuring -------------------------------------------------------------------------


def measure(settings: Settings) -> Results:
    """Start a process for each number of threads and collect what it reports.

    Parameters
    ----------
    settings : Settings
        The options of the command.
    """
    results = Results()
    steps = len(cells(OPERATIONS, settings.dtypes, settings.sizes)) * len(settings.threads)
    with progress_bar(steps, "measuring", shown=settings.progress) as advance:
        for threads in settings.threads:
            _measure_with(settings, threads, results, advance)
    return results


def _measure_with(settings: Settings, threads: int, results: Results, advance: Advance) -> None:
    spec = {
        "peers": [OURS, *(name for name in settings.peers if name != OURS)],
        "case": settings.case,
        "dtypes": list(settings.dtypes),
        "sizes": list(settings.sizes),
        "threads": threads,
        "effort": dataclasses.asdict(settings.effort),
    }
    command = [sys.executable, "-m", "logitloss.benchmark.worker", json.dumps(spec)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            encoding="utf-8",
            env={**os.environ, **environment(threads)},
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                _take(json.loads(line), threads, results, advance)
        except BaseException:
            process.kill()
            raise
        status = process.wait()
        if status != 0:
            complaints.seek(0)
            last = complaints.read().strip().splitlines()[-1:] or ["it said nothing"]
            results.faults.append(
                f"the process that measured (threads: {threads}) ended with status {status}: "
                f"{last[0]}"
            )


def _take(event: dict[str, Any], threads: int, results: Results, advance: Advance) -> None:
    kind = event["event"]
    if kind == "row":
        timing = event["row"].pop("timing")
        row = Row(**event["row"], timing=None if timing is None else Timing(**timing))
        results.rows.append(row)
    elif kind == "version":
        results.versions[event["peer"]] = event["version"]
    elif kind == "missing":
        results.missing[event["peer"]] = event["reason"]
    elif kind == "step":
        done = results.rows[-1]
        advance(f"{done.operation}, {done.dtype}, {done.elements} elements, threads: {threads}")


# --- Facts and words -------------------------------------------------------------------


def machine_facts() -> dict[str, Any]:
    """Return what a result depends on beside the code: processor, compiler, versions."""
    config = logitloss.config()
    facts: dict[str, Any] = {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "usable_processors": _usable_processors(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "logitloss": config["version"],
        "isa": config["isa"],
        "compiler": config["compiler"],
        "openmp": config["openmp"],
    }
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if huge_pages.exists():
        facts["transparent_huge_pages"] = huge_pages.read_text().strip()
    if hasattr(os, "getloadavg"):
        facts["load"] = os.getloadavg()[0]
    return facts


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _headline(facts: dict[str, Any]) -> str:
    return (
        f"logitloss {facts['logitloss']} ({facts['isa']}, {facts['compiler']}) on "
        f"{facts['usable_processors']} x {facts['processor']}"
    )


def _legend(case: Case, results: Results) -> str:
    """Return what the tables mean, and which results are not in them."""
    lines = [
        "",
        f"Times are medians. Beside {OURS} stands how many times as long a peer takes.",
        f"{case}: {CASES[case]}.",
        f"of ceiling: the time of {CEILING_CALLS[case]} divided by that of {OURS}.",
        "",
    ]
    for name, version in results.versions.items():
        lines.append(f"{name} {version}: {LIBRARIES[name].how}")
    lines += [f"{name} cannot be used: {reason}" for name, reason in results.missing.items()]
    for row in results.rows:
        if row.timing is None:
            lines.append(
                f"{row.peer} is {row.state} and was not timed for {row.case} {row.operation}, "
                f"{row.dtype}, {length(row.elements)} elements, threads: {row.threads}: "
                f"{row.reason}"
            )
    return "\n".join(lines)


def as_document(settings: Settings, facts: dict[str, Any], results: Results) -> dict[str, Any]:
    """Return everything that is known about a run, in types that JSON has.

    Parameters
    ----------
    settings : Settings
        The options of the command.
    facts : dict
        What `machine_facts` returned.
    results : Results
        What `measure` returned.
    """
    return {
        "facts": facts,
        "settings": {
            "peers": list(settings.peers),
            "case": settings.case,
            "sizes": list(settings.sizes),
            "dtypes": list(settings.dtypes),
            "threads": list(settings.threads),
            "effort": dataclasses.asdict(settings.effort),
        },
        "method": {
            "case": CASES[settings.case],
            "ceiling": f"{CEILING_CALLS[settings.case]}, in parts if there are several threads; "
            "for float16 on integers of the same width",
            "loss_tolerance": LOSS_TOLERANCE,
            "gradient_tolerance": GRADIENT_TOLERANCE,
            "how": {name: LIBRARIES[name].how for name in results.versions},
        },
        "versions": results.versions,
        "missing": results.missing,
        "faults": results.faults,
        "results": [dataclasses.asdict(row) for row in results.rows],
    }
