"""Compare the speed of logitloss on a CUDA device with that of other libraries there.

All of them compute the mean loss and its gradient from the same arrays, turn by turn in one
process, and are checked against the exact answer before they are timed. Beside them runs a copy on
the device, as PyTorch makes it: its bytes per second, read and written, are the ceiling.

A call goes from buffer to buffer, over more memory than the second-level cache holds (up to 1024
buffers). Several calls are enqueued, the device is waited for, and the time is divided by their
number; the median over rounds is reported. So the time of a small call is that of the host, which
has to enqueue it.

The inputs are made with PyTorch, and the others see the same memory through DLPack. What is not
installed, or cannot be used, is named and left out.

Usage: ``python bench/python/gpu_peers.py --json docs/data/gpu_peers.json --plot
docs/images/gpu-peers.png``; ``--from docs/data/gpu_peers.json`` prints and draws what was measured
before, for which no device is needed.

Exit status: 0; 1 if an answer of logitloss was wrong or its call failed; 2 for a wrong command line
or where there is no device.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from logitloss.demo.tails import exact_gradient, exact_loss
from project import provenance, tracked, write_json

DEVICE: Final = "cuda"
COPY: Final = "device copy"
OURS: Final = "logitloss"
DTYPES: Final = ("float32", "bfloat16")
POWERS: Final = (10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 29)
QUICK_POWERS: Final = (12, 20, 24, 28)
BYTES: Final = {"float32": 4, "bfloat16": 2}

# What a right answer may be off by: the mean relatively, the gradient of an element absolutely.
# bfloat16 has 8 bits, and some compute in it throughout.
LOSS_TOLERANCE: Final = {"float32": 1e-4, "bfloat16": 3e-2}
GRADIENT_TOLERANCE: Final = {"float32": 1e-6, "bfloat16": 2e-2}

# Inputs repeat after so many elements, so that the exact answer costs nothing.
PERIOD: Final = 1 << 16
MOST_BUFFERS: Final = 1024
BATCH_SECONDS: Final = 3e-3
FEWEST_ROUNDS: Final = 5
MOST_ROUNDS: Final = 101

Call: TypeAlias = Callable[[int], Any]


@dataclass(frozen=True)
class Row:
    """What one peer came to for one length: `state` is 'timed', 'wrong' or 'failed'."""

    peer: str
    dtype: str
    elements: int
    state: str
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    batch: int = 0
    buffers: int = 0
    loss_error: float | None = None
    gradient_error: float | None = None
    reason: str = ""

    @property
    def bytes_per_second(self) -> float:
        """What is moved: logits and targets read and a gradient written, or a copy."""
        arrays = 2 if self.peer == COPY else 3
        return arrays * BYTES[self.dtype] * self.elements / (self.seconds or float("inf"))


# --- Arrays ----------------------------------------------------------------------------------


class Buffers:
    """Logits, targets and room for gradients: tensors with a row for each buffer."""

    def __init__(self, torch: Any, dtype: str, elements: int) -> None:
        random = np.random.default_rng(elements)
        period = min(elements, PERIOD)
        x = torch.from_numpy(3 * random.standard_normal(period)).to(getattr(torch, dtype))
        labels = random.integers(0, 2, period).astype(np.float32)
        y = torch.from_numpy(labels).to(x.dtype)
        self.torch = torch
        self.dtype = dtype
        self.elements = elements
        self.count = _count_buffers(torch, 3 * BYTES[dtype] * elements)
        repeats = self.count * elements // period
        self.logits, self.targets = (
            tensor.to(DEVICE).repeat(repeats).view(self.count, elements) for tensor in (x, y)
        )
        self.gradients = torch.zeros_like(self.logits)
        exact = x.float().numpy()
        self._mean_loss = float(exact_loss(exact, labels).mean())
        self._gradient = exact_gradient(exact, labels)

    def loss_error(self, value: float) -> float:
        """Return the relative error of a mean loss."""
        return abs(value - self._mean_loss) / self._mean_loss

    def gradient_error(self, gradient: Any) -> float:
        """Return the largest error of an element's gradient, at both ends of a tensor."""
        if tuple(gradient.shape) != (self.elements,):
            raise ValueError(f"the gradient has shape {tuple(gradient.shape)}")
        size = self._gradient.size
        ends = (gradient[:size], gradient[self.elements - size :])
        errors = [
            np.abs(end.to(self.torch.float64).cpu().numpy() * self.elements - self._gradient).max()
            for end in ends
        ]
        # NaN counts as infinitely wrong.
        return float(max(errors)) if all(error <= np.inf for error in errors) else float("inf")


def _count_buffers(torch: Any, bytes_of_one: int) -> int:
    """Return how many buffers are needed to go around the second-level cache."""
    cache = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 1 << 26)
    wanted = -(-3 * cache // bytes_of_one)
    return int(min(max(wanted, 1), MOST_BUFFERS))


# --- Peers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """How a peer computes one problem."""

    run: Call
    value: Callable[[Any], float]
    # Takes the result and the number of the buffer; returns a tensor.
    gradient: Callable[[Any, int], Any]
    # Waits until a result is computed, where waiting for the device may come too early.
    finish: Callable[[Any], object] = lambda _: None


@dataclass(frozen=True)
class Peer:
    """A library, or one of the ways to use it."""

    name: str
    version: str
    how: str
    dtypes: tuple[str, ...]
    prepare: Callable[[Buffers], Problem]


def _ours_with_torch(_: Any) -> Peer:
    import logitloss

    def prepare(buffers: Buffers) -> Problem:
        x, y, g = (list(tensor) for tensor in (buffers.logits, buffers.targets, buffers.gradients))

        def run(k: int) -> Any:
            return logitloss.bce_with_logits_value_and_grad(x[k], y[k], out=g[k])

        return Problem(run, lambda r: float(r[0]), lambda r, _: r[1])

    how = "bce_with_logits_value_and_grad(x, y, out=g) of tensors"
    return Peer(OURS, logitloss.__version__, how, DTYPES, prepare)


def _ours_with_cupy(torch: Any) -> Peer:
    import logitloss

    cupy: Any = importlib.import_module("cupy")

    def prepare(buffers: Buffers) -> Problem:
        x, y, g = (
            [cupy.from_dlpack(row) for row in tensor]
            for tensor in (buffers.logits, buffers.targets, buffers.gradients)
        )

        def run(k: int) -> Any:
            return logitloss.bce_with_logits_value_and_grad(x[k], y[k], out=g[k])

        return Problem(run, lambda r: float(r[0]), lambda r, _: torch.from_dlpack(r[1]))

    how = "the same of CuPy arrays"
    return Peer(f"{OURS}, CuPy", cupy.__version__, how, ("float32",), prepare)


def _leaves(buffers: Buffers) -> list[Any]:
    return [row.detach().requires_grad_() for row in buffers.logits]


def _torch_eager(torch: Any) -> Peer:
    function = torch.nn.functional.binary_cross_entropy_with_logits

    def prepare(buffers: Buffers) -> Problem:
        x, y = _leaves(buffers), list(buffers.targets)

        def run(k: int) -> Any:
            value = function(x[k], y[k])
            return value.detach(), torch.autograd.grad(value, x[k])[0]

        return Problem(run, lambda r: float(r[0]), lambda r, _: r[1])

    how = "binary_cross_entropy_with_logits, autograd"
    return Peer("torch", torch.__version__, how, DTYPES, prepare)


def _torch_compiled(torch: Any) -> Peer:
    def prepare(buffers: Buffers) -> Problem:
        x, y = _leaves(buffers), list(buffers.targets)
        function = torch.compile(
            torch.nn.functional.binary_cross_entropy_with_logits, dynamic=False, fullgraph=True
        )

        def run(k: int) -> Any:
            value = function(x[k], y[k])
            return value.detach(), torch.autograd.grad(value, x[k])[0]

        return Problem(run, lambda r: float(r[0]), lambda r, _: r[1])

    how = "binary_cross_entropy_with_logits under torch.compile, autograd"
    return Peer("torch.compile", torch.__version__, how, DTYPES, prepare)


def _torch_fused(torch: Any) -> Peer:
    def both(x: Any, y: Any, g: Any) -> Any:
        wide, target = x.float(), y.float()
        losses = wide.clamp(min=0) - wide * target + torch.log1p(torch.exp(-wide.abs()))
        g.copy_((torch.sigmoid(wide) - target) / x.numel())
        return losses.mean()

    def prepare(buffers: Buffers) -> Problem:
        x, y, g = (list(tensor) for tensor in (buffers.logits, buffers.targets, buffers.gradients))
        compiled = torch.compile(both, dynamic=False, fullgraph=True)

        def run(k: int) -> Any:
            with torch.inference_mode():
                return compiled(x[k], y[k], g[k])

        return Problem(run, float, lambda _, k: g[k])

    how = "max(x, 0) - x y + log1p(exp(-|x|)) and sigmoid(x) - y in one torch.compile, out given"
    return Peer("torch.compile, by hand", torch.__version__, how, DTYPES, prepare)


def _jax_jit(torch: Any) -> Peer:
    # JAX would take most of the device's memory for itself.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax: Any = importlib.import_module("jax")
    jnp: Any = importlib.import_module("jax.numpy")
    from_dlpack: Any = importlib.import_module("jax.dlpack").from_dlpack
    if DEVICE == "cuda" and jax.default_backend() != "gpu":
        raise ImportError("this JAX has no CUDA")

    def loss(x: Any, y: Any) -> Any:
        wide, target = x.astype(jnp.float32), y.astype(jnp.float32)
        losses = jnp.maximum(wide, 0) - wide * target + jnp.log1p(jnp.exp(-jnp.abs(wide)))
        return losses.mean()

    compiled = jax.jit(jax.value_and_grad(loss))

    def prepare(buffers: Buffers) -> Problem:
        x, y = (
            [from_dlpack(row) for row in tensor] for tensor in (buffers.logits, buffers.targets)
        )

        def run(k: int) -> Any:
            return compiled(x[k], y[k])

        return Problem(
            run,
            lambda r: float(r[0]),
            lambda r, _: torch.from_dlpack(r[1]),
            # JAX enqueues from a thread of its own.
            jax.block_until_ready,
        )

    how = "value_and_grad of max(x, 0) - x y + log1p(exp(-|x|)) under jit"
    return Peer("jax", jax.__version__, how, DTYPES, prepare)


def _cupy_fused(torch: Any) -> Peer:
    cupy: Any = importlib.import_module("cupy")
    kernel = cupy.ElementwiseKernel(
        "T x, T y, T scale",
        "T loss, T gradient",
        """
        const T e = exp(-abs(x));
        loss = max(x, T(0)) - x * y + log1p(e);
        gradient = ((x >= T(0) ? T(1) : e) / (T(1) + e) - y) * scale;
        """,
        "bce_with_logits",
    )

    def prepare(buffers: Buffers) -> Problem:
        x, y, g = (
            [cupy.from_dlpack(row) for row in tensor]
            for tensor in (buffers.logits, buffers.targets, buffers.gradients)
        )
        losses = cupy.empty_like(x[0])
        scale = np.float32(1 / buffers.elements)

        def run(k: int) -> Any:
            kernel(x[k], y[k], scale, losses, g[k])
            return losses.mean()

        return Problem(run, float, lambda _, k: torch.from_dlpack(g[k]))

    how = "an ElementwiseKernel for losses and gradient, mean"
    return Peer("cupy", cupy.__version__, how, ("float32",), prepare)


LOADERS: Final[dict[str, Callable[[Any], Peer]]] = {
    OURS: _ours_with_torch,
    f"{OURS}, CuPy": _ours_with_cupy,
    "torch": _torch_eager,
    "torch.compile": _torch_compiled,
    "torch.compile, by hand": _torch_fused,
    "jax": _jax_jit,
    "cupy": _cupy_fused,
}


def load_peers(torch: Any) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can be used, and why the others cannot."""
    peers, missing = [], {}
    for name, load in LOADERS.items():
        try:
            peers.append(load(torch))
        except Exception as error:
            # A library that is there but cannot be used must not stop the others.
            missing[name] = f"{type(error).__name__}: {error}"
    return peers, missing


# --- Measuring -------------------------------------------------------------------------------


def _finish(torch: Any) -> None:
    """Wait for everything that was enqueued on the device, by whomever."""
    torch.cuda.synchronize()


def _seconds(torch: Any, problem: Problem, first: int, batch: int, buffers: int) -> float:
    start = time.perf_counter()
    result = None
    for k in range(first, first + batch):
        result = problem.run(k % buffers)
    problem.finish(result)
    _finish(torch)
    return time.perf_counter() - start


def _batch_size(torch: Any, problem: Problem, buffers: int) -> int:
    """Return how many calls take so long that waiting for the device does not show."""
    _seconds(torch, problem, 0, 2, buffers)
    times = 1
    while True:
        seconds = _seconds(torch, problem, 0, times, buffers)
        if seconds > BATCH_SECONDS / 4:
            return max(1, round(BATCH_SECONDS / seconds * times))
        times *= 4


def _timed(
    torch: Any, problems: dict[str, Problem], buffers: int, seconds: float
) -> dict[str, Any]:
    """Time calls in turn, round after round; return the fields of a row for each."""
    batches = {name: _batch_size(torch, one, buffers) for name, one in problems.items()}
    times: dict[str, list[float]] = {name: [] for name in problems}
    start = time.perf_counter()
    first = 0
    rounds = 0
    gc.disable()
    try:
        while rounds < FEWEST_ROUNDS or (
            rounds < MOST_ROUNDS and time.perf_counter() - start < seconds
        ):
            for name, problem in problems.items():
                took = _seconds(torch, problem, first, batches[name], buffers)
                times[name].append(took / batches[name])
            first += max(batches.values())
            rounds += 1
    finally:
        gc.enable()
    fields = {}
    for name, numbers in times.items():
        low, middle, high = statistics.quantiles(numbers, n=4, method="inclusive")
        fields[name] = {
            "seconds": middle,
            "low": low,
            "high": high,
            "rounds": rounds,
            "batch": batches[name],
            "buffers": buffers,
        }
    return fields


def _checked(peer: Peer, problem: Problem, buffers: Buffers) -> Row:
    """Return a row with the errors of a call, and whether they are within the tolerance."""
    buffers.gradients.fill_(float("nan"))
    result = problem.run(0)
    problem.finish(result)
    _finish(buffers.torch)
    loss_error = buffers.loss_error(problem.value(result))
    gradient_error = buffers.gradient_error(problem.gradient(result, 0))
    is_right = (
        loss_error <= LOSS_TOLERANCE[buffers.dtype]
        and gradient_error <= GRADIENT_TOLERANCE[buffers.dtype]
    )
    reason = "" if is_right else f"errors: loss {loss_error:.1e}, gradient {gradient_error:.1e}"
    return Row(
        *(peer.name, buffers.dtype, buffers.elements, "timed" if is_right else "wrong"),
        loss_error=loss_error,
        gradient_error=gradient_error,
        reason=reason,
    )


def measure(
    torch: Any, peers: Sequence[Peer], dtype: str, elements: int, seconds: float
) -> list[Row]:
    """Check and time all peers on one length."""
    rows: dict[str, Row] = {}
    problems: dict[str, Problem] = {}
    # What was compiled for other lengths is forgotten, or a limit would be met.
    torch.compiler.reset()
    try:
        buffers = Buffers(torch, dtype, elements)
    except torch.cuda.OutOfMemoryError as error:
        return [_failed(peer.name, dtype, elements, error) for peer in peers]

    def copy(k: int) -> Any:
        return buffers.gradients[k].copy_(buffers.logits[k])

    for peer in peers:
        if dtype not in peer.dtypes:
            continue
        try:
            problem = peer.prepare(buffers)
            rows[peer.name] = _checked(peer, problem, buffers)
            # What this one needs beside the inputs must be there with all others, too.
            _seconds(torch, problem, 0, 2, buffers.count)
        except Exception as error:
            # Whatever another library raises, the others are still to be measured.
            rows[peer.name] = _failed(peer.name, dtype, elements, error)
            continue
        if rows[peer.name].state == "timed":
            problems[peer.name] = problem
    problems[COPY] = Problem(copy, float, lambda r, _: r)
    rows[COPY] = Row(COPY, dtype, elements, "timed")
    for name, fields in _timed(torch, problems, buffers.count, seconds * len(problems)).items():
        rows[name] = dataclasses.replace(rows[name], **fields)
    return list(rows.values())


def _failed(name: str, dtype: str, elements: int, error: Exception) -> Row:
    first_line = (str(error).strip().splitlines() or [""])[0]
    return Row(name, dtype, elements, "failed", reason=f"{type(error).__name__}: {first_line}")


# --- Results ---------------------------------------------------------------------------------


def _driver() -> str:
    """Return the driver's version, as far as the system tells it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown"
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, check=False)
    return (result.stdout.strip().splitlines() or ["unknown"])[0]


def facts(torch: Any, date: str | None) -> dict[str, Any]:
    """Return what a result depends on beside the code."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "memory_bytes": properties.total_memory,
        "l2_bytes": getattr(properties, "L2_cache_size", None),
        "driver": _driver(),
        "cuda_of_torch": torch.version.cuda,
        **provenance(date),
    }


def rows_of(document: dict[str, Any]) -> list[Row]:
    """Return the rows of a document."""
    return [Row(**row) for row in document["results"]]


def _length(elements: int) -> str:
    power = elements.bit_length() - 1
    return f"2^{power}" if elements == 1 << power else str(elements)


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:.3g}" if seconds < 1e-3 else f"{1e6 * seconds:.0f}"


def lines_of(document: dict[str, Any]) -> Iterator[str]:
    """Yield the results as lines of text."""
    rows = rows_of(document)
    about = document["facts"]
    yield f"{about['gpu']}, driver {about['driver']}, logitloss {about['logitloss']}"
    for name, version in document["versions"].items():
        yield f"{name} {version}: {document['how'][name]}"
    for name, reason in document["missing"].items():
        yield f"{name} is left out: {reason}"
    for dtype in dict.fromkeys(row.dtype for row in rows):
        yield ""
        yield from _table([row for row in rows if row.dtype == dtype])
    for row in rows:
        if row.state != "timed":
            yield f"{row.peer}, {row.dtype}, {_length(row.elements)}: {row.state}: {row.reason}"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table of one dtype: times, and the others' divided by that of logitloss."""
    names = list(dict.fromkeys(row.peer for row in rows))
    times = {(row.peer, row.elements): row.seconds for row in rows}
    lengths = list(dict.fromkeys(row.elements for row in rows))
    yield f"loss and gradient, {rows[0].dtype}: microseconds a call, and how many times {OURS}'s"
    yield "".join([f"{'':24}", *(f"{_length(n):>16}" for n in lengths)])
    for name in names:
        cells = []
        for n in lengths:
            own, seconds = times.get((OURS, n)), times.get((name, n))
            ratio = f" {seconds / own:5.2f}x" if own and seconds and name != OURS else " " * 7
            cells.append(f"{_microseconds(seconds) if seconds else '-':>9}{ratio}")
        yield "".join([f"{name:24}", *cells])
    shares = [_share(rows, n) for n in lengths]
    yield "".join([f"{'bytes/s of the copy':24}", *(f"{share:>9}{'':7}" for share in shares)])


def _share(rows: Sequence[Row], elements: int) -> str:
    """Return what logitloss moves divided by what the copy moves."""
    rates = {row.peer: row.bytes_per_second for row in rows if row.elements == elements}
    if not rates.get(OURS) or not rates.get(COPY):
        return "-"
    return f"{rates[OURS] / rates[COPY]:.2f}"


# --- Plot ------------------------------------------------------------------------------------

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
STYLES: Final = {
    OURS: ("black", "o", "-", 2.4),
    f"{OURS}, CuPy": ("black", "o", ":", 1.4),
    "torch": ("#D55E00", "s", "-", 1.4),
    "torch.compile": ("#D55E00", "^", "--", 1.4),
    "torch.compile, by hand": ("#D55E00", "v", ":", 1.4),
    "jax": ("#CC79A7", "s", "-", 1.4),
    "cupy": ("#009E73", "P", "-", 1.4),
    COPY: ("#8C8C8C", "", "-", 1.4),
}


def draw(document: dict[str, Any], path: pathlib.Path) -> None:
    """Draw time and bytes per second against the length, a line of panels for each dtype."""
    from matplotlib.figure import Figure

    rows = [row for row in rows_of(document) if row.state == "timed"]
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    figure = Figure(figsize=(11.0, 3.9 * len(dtypes) + 0.9), layout="constrained")
    panels = figure.subplots(len(dtypes), 2, squeeze=False)
    for (left, right), dtype in zip(panels, dtypes, strict=True):
        some = [row for row in rows if row.dtype == dtype]
        _draw_panel(
            left, [row for row in some if row.peer != COPY], lambda row: 1e6 * (row.seconds or 0.0)
        )
        left.set(title=f"{dtype}: time of loss and gradient", ylabel="microseconds a call")
        left.set_yscale("log")
        _draw_panel(right, some, lambda row: 1e-9 * row.bytes_per_second)
        right.set(title=f"{dtype}: bytes moved per second", ylabel="GB/s")
        right.set_ylim(bottom=0)
    handles = {
        line.get_label(): line for ax in panels.flat for line in ax.get_legend_handles_labels()[0]
    }
    figure.legend(
        handles=list(handles.values()), loc="outside lower center", ncols=4, frameon=False
    )
    figure.suptitle(
        f"{document['facts']['gpu']}, driver {document['facts']['driver']}", fontsize=11
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_panel(ax: Any, rows: Sequence[Row], height: Callable[[Row], float]) -> None:
    for name, (colour, marker, line, width) in STYLES.items():
        points = sorted((row.elements, height(row)) for row in rows if row.peer == name)
        if points:
            ax.plot(
                *zip(*points, strict=True),
                color=colour,
                marker=marker,
                markersize=4.5,
                linestyle=line,
                linewidth=width,
                label=name,
                zorder=5 if name == OURS else 3,
            )
    ax.set_xscale("log", base=2)
    ax.minorticks_off()
    ax.set_xlabel("elements")
    ax.grid(True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


# --- Command line ----------------------------------------------------------------------------


def _powers(text: str) -> list[int]:
    try:
        powers = [int(word) for word in text.split(",") if word]
    except ValueError:
        powers = []
    if not powers or not all(0 <= power <= 33 for power in powers):
        raise argparse.ArgumentTypeError(
            f"expected exponents of 2 up to 33, such as 10,20, got {text!r}"
        )
    return powers


def _dtypes(text: str) -> list[str]:
    names = [word for word in text.split(",") if word]
    if not names or any(name not in DTYPES for name in names):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(DTYPES)}, got {text!r}")
    return names


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\nUsage")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--quick", action="store_true", help="float32, and four lengths")
    result.add_argument(
        "--powers", type=_powers, metavar="N,...", help="lengths, as exponents of 2"
    )
    result.add_argument("--dtypes", type=_dtypes, metavar="NAME,...", help=", ".join(DTYPES))
    result.add_argument(
        "--seconds", type=float, default=0.15, metavar="S", help="time for each call (0.15)"
    )
    result.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results")
    result.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="draw the results")
    result.add_argument(
        "--from",
        dest="source",
        type=pathlib.Path,
        metavar="FILE",
        help="do not measure: print and draw what --json wrote",
    )
    result.add_argument("--date", metavar="DATE", help="a date to record")
    return result


def _measure_all(torch: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    peers, missing = load_peers(torch)
    dtypes = arguments.dtypes or (DTYPES[:1] if arguments.quick else DTYPES)
    powers = arguments.powers or (QUICK_POWERS if arguments.quick else POWERS)
    rows: list[Row] = []
    problems = [(dtype, 1 << power) for dtype in dtypes for power in powers]
    for dtype, elements in tracked(problems, "lengths"):
        rows += measure(torch, peers, dtype, elements, arguments.seconds)
        gc.collect()
        torch.cuda.empty_cache()
    return {
        "facts": facts(torch, arguments.date),
        "versions": {peer.name: peer.version for peer in peers},
        "how": {peer.name: peer.how for peer in peers},
        "missing": missing,
        "results": [dataclasses.asdict(row) for row in rows],
    }


def _torch_with_device() -> Any:
    """Return PyTorch where it sees a CUDA device; else say what is missing."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        return f"PyTorch is needed to make the arrays: {error}"
    if DEVICE == "cuda" and not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    return torch


def main() -> int:
    """Do what the command line says."""
    arguments = parser().parse_args()
    if arguments.source is not None:
        try:
            document = json.loads(arguments.source.read_text())
        except (OSError, ValueError) as error:
            print(f"gpu_peers: cannot read {arguments.source}: {error}", file=sys.stderr)
            return 2
    else:
        torch = _torch_with_device()
        if isinstance(torch, str):
            print(f"gpu_peers: {torch}", file=sys.stderr)
            return 2
        document = _measure_all(torch, arguments)
    print("\n".join(line.rstrip() for line in lines_of(document)))
    if arguments.json is not None:
        write_json(arguments.json, document)
        print(f"\nWritten: {arguments.json}")
    if arguments.plot is not None:
        draw(document, arguments.plot)
        print(f"Written: {arguments.plot}")
    ours = [row for row in rows_of(document) if row.peer.startswith(OURS)]
    is_wrong = OURS in document["missing"] or any(row.state != "timed" for row in ours)
    return 1 if is_wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
