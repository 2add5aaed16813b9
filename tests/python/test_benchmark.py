"""What ``logitloss bench`` does beside timing: checks of answers, results, errors."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from logitloss.benchmark import command as bench_command
from logitloss.benchmark import peers as bench_peers
from logitloss.benchmark.measure import (
    CEILING,
    GRADIENT_TOLERANCE,
    LOSS_TOLERANCE,
    OPERATIONS,
    Effort,
    Row,
    Timing,
    interleaved,
    measure_cell,
)
from logitloss.benchmark.peers import (
    CASES,
    LIBRARIES,
    OURS,
    Array,
    Call,
    Case,
    Library,
    Peer,
    Problem,
)
from logitloss.demo.tails import exact_gradient, exact_loss
from processes import run

SHORT = Effort(seconds=0.0, fewest=2, most=2)
DTYPES = ("float16", "float32", "float64")


def bench(*arguments: str) -> tuple[int, str, str]:
    """Run ``python -m logitloss bench`` and return its exit status, output and error output."""
    return run([sys.executable, "-m", "logitloss", "bench", *arguments], {})


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package}, of the extra 'bench', is not installed")


# --- The check of answers --------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_check_knows_the_right_answer(dtype: str) -> None:
    x = np.linspace(-20, 20, 4001).astype(dtype)
    for label in (0, 1):
        y = np.full_like(x, label)
        exact = oracle.elements(x, y, arithmetic=oracle.LONGDOUBLE)
        for given, wanted in ((exact_loss(x, y), exact.loss), (exact_gradient(x, y), exact.grad)):
            assert np.all(np.abs(given - wanted) <= 1e-17 * np.abs(wanted))


def peer_that_is_off(
    loss_factor: float = 1.0, spoil: Callable[[Array], None] | None = None
) -> Peer:
    """Return this package, spoilt: its loss by a factor, its gradient by a function."""
    ours = LIBRARIES[OURS].load(1)

    def prepare(problem: Problem) -> Call:
        right = ours.prepare(problem)

        def spoilt() -> Any:
            result = right.run()
            if spoil is not None:
                spoil(problem.gradient)
            return result

        return Call(
            spoilt,
            lambda result: loss_factor * right.value(result),
            right.gradient,
            right.gradient_of_mean,
        )

    return Peer("planted", "0", DTYPES, prepare)


def cell(
    peer: Peer, dtype: str = "float32", elements: int = 1000, case: Case = "plain"
) -> dict[str, Row]:
    peers = [LIBRARIES[OURS].load(1), peer]
    rows = measure_cell(peers, case, "loss+gradient", dtype, elements, 1, SHORT)
    assert {row.peer for row in rows} == {OURS, "planted", CEILING}
    assert {row.case for row in rows} == {case}
    return {row.peer: row for row in rows}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1.0, 1.5, float("nan")])
def test_a_wrong_loss_is_not_timed(dtype: str, factor: float) -> None:
    rows = cell(peer_that_is_off(factor), dtype)
    planted = rows["planted"]
    assert rows[OURS].state == "timed"
    if factor == 1.0:
        assert planted.state == "timed"
        assert planted.timing is not None
    else:
        assert planted.state == "wrong"
        assert planted.timing is None
        assert "mean loss" in planted.reason


@pytest.mark.parametrize("factor", [1.0, 1.01])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tolerance_of_the_loss_is_what_it_says(dtype: str, factor: float) -> None:
    off = peer_that_is_off(1 + factor * LOSS_TOLERANCE[dtype] * 0.999)
    assert (cell(off, dtype)["planted"].state == "timed") == (factor == 1.0)


@pytest.mark.parametrize("bad", [2.0, float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 70000, -1])
def test_one_wrong_element_of_a_gradient_is_found(bad: float, at: int) -> None:
    def spoil(gradient: Array) -> None:
        gradient[at] = bad

    planted = cell(peer_that_is_off(spoil=spoil), elements=140000)["planted"]
    assert planted.state == "wrong"
    assert planted.timing is None
    assert "gradient" in planted.reason


def test_a_gradient_left_as_it_was_is_found() -> None:
    """The array is filled with NaN before each peer, so that no answer is another one's."""

    def prepare(problem: Problem) -> Call:
        right = LIBRARIES[OURS].load(1).prepare(problem)
        value = right.value(right.run())
        problem.gradient.fill(np.nan)
        return Call(lambda: value, float, lambda _: problem.gradient, True)

    assert cell(Peer("planted", "0", DTYPES, prepare))["planted"].state == "wrong"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("elements", [1, 1000, 140000])
def test_a_peer_without_the_weights_is_not_timed(dtype: str, elements: int) -> None:
    ours = LIBRARIES[OURS].load(1)
    forgetful = Peer(
        "planted", "0", DTYPES, lambda problem: ours.prepare(replace(problem, weights=None))
    )
    assert cell(forgetful, dtype, elements)["planted"].state == "timed"
    rows = cell(forgetful, dtype, elements, "weighted")
    assert rows[OURS].state == "timed"
    assert rows["planted"].state == "wrong"
    assert rows["planted"].timing is None
    assert "mean loss" in rows["planted"].reason
    assert "gradient" in rows["planted"].reason


@pytest.mark.parametrize("elements", [1, 1000, 140000])
def test_the_weighted_answer_is_the_right_one(elements: int) -> None:
    """The loss and gradient that peers are held against are those of the oracle."""
    seen: list[Problem] = []

    def prepare(problem: Problem) -> Call:
        seen.append(problem)
        x, y, w = problem.inputs
        exact = oracle.answer(x, y, weight=w, arithmetic=oracle.LONGDOUBLE)
        gradient = (exact.grad * x.size).astype(x.dtype)
        return Call(lambda: None, lambda _: float(exact.value), lambda _: gradient, False)

    planted = cell(Peer("planted", "0", DTYPES, prepare), "float64", elements, "weighted")[
        "planted"
    ]
    assert planted.loss_error is not None
    assert planted.loss_error <= 2e-16
    assert planted.gradient_error is not None
    assert planted.gradient_error <= 2e-16
    (problem,) = seen
    assert problem.weights is not None
    assert problem.weights.shape == problem.logits.shape
    assert np.all((problem.weights >= 0.25) & (problem.weights <= 1))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_more_threads_than_elements(case: Case, threads: int) -> None:
    peer = LIBRARIES["numpy"].load(threads)
    rows = measure_cell([peer], case, "loss+gradient", "float16", 2, threads, SHORT)
    assert [(row.peer, row.state) for row in rows] == [("numpy", "timed"), (CEILING, "timed")]


def test_a_peer_that_raises_does_not_stop_the_others() -> None:
    def prepare(_: Problem) -> Call:
        raise RuntimeError("no compiler\nand a long story")

    rows = cell(Peer("planted", "0", DTYPES, prepare))
    assert rows["planted"].state == "failed"
    assert rows["planted"].reason == "RuntimeError: no compiler"
    assert rows[OURS].timing is not None


@pytest.mark.parametrize("name", [name for name in LIBRARIES if LIBRARIES[name].is_installed])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_installed_peers_are_right(name: str, dtype: str, case: Case) -> None:
    if name.startswith("torch.compile") and dtype != "float32":
        pytest.skip("compiling takes seconds")
    peer = LIBRARIES[name].load(1)
    rows = measure_cell([peer], case, "loss+gradient", dtype, 300, 1, SHORT)
    assert [row.state for row in rows] == ["timed"] * (1 + (dtype in peer.dtypes))
    assert all(
        row.gradient_error is None or row.gradient_error <= GRADIENT_TOLERANCE[dtype]
        for row in rows
    )


def test_calls_are_timed_in_turn() -> None:
    order: list[str] = []
    timings = interleaved(
        {name: partial(order.append, name) for name in "ab"},
        Effort(seconds=0.0, fewest=5, most=5),
    )
    assert set(timings) == {"a", "b"}
    assert all(timing.rounds == 5 for timing in timings.values())
    assert all(0 < timing.low <= timing.seconds <= timing.high for timing in timings.values())
    turns = [name for name, before in zip(order, [None, *order], strict=False) if name != before]
    assert len(turns) >= 10


# --- The command -----------------------------------------------------------------------


def test_a_short_run(tmp_path: Path) -> None:
    need("rich", "matplotlib")
    results, picture = tmp_path / "results.json", tmp_path / "speed.png"
    status, output, errors = bench(
        "--quick", "--peers", "numpy", "--sizes", "1,300,2^12", "--dtypes", "float32,float64",
        "--threads", "1,2", "--json", str(results), "--plot", str(picture),
    )  # fmt: skip
    assert status == 0, output + errors
    assert errors == ""
    for operation in OPERATIONS:
        for dtype in ("float32", "float64"):
            for threads in ("1 thread", "2 threads"):
                assert f"plain {operation}, {dtype}, {threads}\n" in output
    assert "of ceiling" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "speed-float64.png").read_bytes().startswith(b"\x89PNG")

    document = json.loads(results.read_text())
    for fact in ("processor", "compiler", "isa", "logitloss", "numpy", "python"):
        assert document["facts"][fact]
    assert set(document["versions"]) == {OURS, "numpy"}
    assert document["faults"] == []
    found = {
        (row["peer"], row["operation"], row["dtype"], row["elements"], row["threads"])
        for row in document["results"]
    }
    assert found == {
        (peer, operation, dtype, elements, threads)
        for peer in (OURS, "numpy", CEILING)
        for operation in OPERATIONS
        for dtype in ("float32", "float64")
        for elements in (1, 300, 4096)
        for threads in (1, 2)
    }
    assert all(row["timing"]["seconds"] > 0 for row in document["results"])


def test_a_weighted_run(tmp_path: Path) -> None:
    need("rich", "matplotlib")
    results, picture = tmp_path / "results.json", tmp_path / "speed.svg"
    status, output, errors = bench(
        "--case", "weighted", "--quick", "--peers", "numpy", "--sizes", "300,2^12", "--threads",
        "1,2", "--json", str(results), "--plot", str(picture),
    )  # fmt: skip
    assert status == 0, output + errors
    assert errors == ""
    ceiling = "numpy.subtract(x, y, out=g) and numpy.maximum.reduce(w)"
    for operation in OPERATIONS:
        for threads in ("1 thread", "2 threads"):
            assert f"weighted {operation}, float32, {threads}\n" in output
    assert "plain" not in output
    assert f"the time of {ceiling} divided by" in output

    # The SVG file has its text as paths, and as comments.
    drawn = picture.read_text()
    assert "<!-- weighted, float32: logitloss" in drawn
    assert f"<!-- ceiling: {ceiling} -->" in drawn

    document = json.loads(results.read_text())
    assert document["settings"]["case"] == "weighted"
    assert document["method"]["ceiling"].startswith(ceiling)
    assert {row["case"] for row in document["results"]} == {"weighted"}
    assert {row["state"] for row in document["results"]} == {"timed"}


@pytest.mark.parametrize(("case", "arrays"), [("plain", 3), ("weighted", 4)])
def test_the_roofline_counts_the_arrays(case: Case, arrays: int) -> None:
    need("matplotlib")
    from matplotlib.figure import Figure

    from logitloss.benchmark.plot import _draw_bytes

    second = Timing(1.0, 1.0, 1.0, 1, 1, 1.0)
    rows = [
        Row(CEILING, case, "loss+gradient", "float32", 1 << power, 1, "timed", timing=second)
        for power in (20, 30)
    ]
    ax = Figure().subplots()
    _draw_bytes(ax, rows)
    rates = np.asarray(ax.lines[0].get_ydata(), np.float64)
    assert np.allclose(rates * 1e9, [arrays * 4.0 * 2**20, arrays * 4.0 * 2**30], rtol=1e-12)


def test_a_short_ladder(tmp_path: Path) -> None:
    need("rich")
    results = tmp_path / "ladder.json"
    status, output, errors = bench("--ladder", "--quick", "--sizes", "256", "--json", str(results))
    assert status == 0, output + errors
    for name in ("uint8 targets", "where", "label smoothing", "Fortran", "axis=0", "without out="):
        assert name in output
    rungs = json.loads(results.read_text())["rungs"]
    assert all(rung["ratio"] > 0 for rung in rungs)
    assert {rung["elements"] for rung in rungs} <= {256, 1, 128}


def test_an_unknown_peer() -> None:
    status, output, errors = bench("--peers", "numpy,nonsense")
    assert status == 2
    assert output == ""
    assert "unknown: nonsense; installed: numpy" in errors
    assert "Traceback" not in errors


def test_a_peer_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Library("absent", ("no_such_module",), ("no-such-package",), "", LIBRARIES[OURS].load)
    monkeypatch.setitem(bench_peers.LIBRARIES, "absent", absent)
    parser = argparse.ArgumentParser()
    bench_command.add_bench_parser(parser.add_subparsers())
    with pytest.raises(argparse.ArgumentTypeError, match="pip install no-such-package"):
        bench_command._peers("absent")
    with pytest.raises(argparse.ArgumentTypeError, match=r"not installed: .*absent \(pip install"):
        bench_command._peers("nonsense")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "/nonexistent/results.json"],
        ["--plot", "/nonexistent/speed.png"],
        ["--plot", "speed.gif"],
        ["--sizes", "0"],
        ["--sizes", "2^99"],
        ["--sizes", ""],
        ["--threads", "none"],
        ["--dtypes", "int8"],
        ["--case", "focal"],
        ["--peers", ""],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_refused_before_any_work(arguments: list[str]) -> None:
    status, output, errors = bench(*arguments)
    assert status == 2
    assert output == ""
    assert "usage: " in errors
    assert arguments[0] in errors
    assert "Traceback" not in errors


def test_the_ladder_has_cases_of_its_own() -> None:
    need("rich")
    status, output, errors = bench("--ladder", "--case", "weighted")
    assert status == 2
    assert output == ""
    assert "--ladder takes no --case" in errors


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    parser = argparse.ArgumentParser()
    bench_command.add_bench_parser(parser.add_subparsers())
    assert bench_command.bench(parser.parse_args(["bench", "--peers", "none"])) == 1
    assert "pip install 'logitloss[bench]'" in capsys.readouterr().err
