"""Check what can be known about the CUDA code without a device.

The sources are compiled for some architectures, with the flags that CMake uses, and

- the kernels of plain elementwise calls, in which large calls spend their time, keep everything in
  registers: no spills and no stack (the figures of the other kernels are printed);
- plain kernels move 16 bytes with one instruction, from sm_100 on 32;
- arithmetic is what is written: every operation rounds to nearest, nothing is contracted, flushed
  to zero or approximated;
- NVRTC, which compiles at run time and has no standard library, accepts the headers of the
  mathematics and of the losses as they are.

What needs a tool that is not there is skipped, and the tool is named.

Usage: ``python cpp/tools/check_cuda_build.py``. It needs nvcc; NVRTC and nvdisasm are found where
``pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm`` puts them, too.

Exit status: 0; 1 if a check failed; 2 if there is no nvcc or the command line is wrong.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

ROOT: Final = pathlib.Path(__file__).resolve().parents[2]
SOURCES: Final = ROOT / "cpp" / "src"
ARCHITECTURES: Final = ("80", "90", "100")

# The architecture from which on one instruction moves 32 bytes.
FIRST_WITH_256_BITS: Final = 100

TASK: Final = re.compile(r"run_taskINS\w*?_(\d+)(\w+)")
TASK_ARGUMENTS: Final = re.compile(r"I([fd])(?:Lj(\d+)E)?")
NUMBERS: Final = {"f": "float", "d": "double"}
OUTPUTS: Final = {1: "loss", 2: "gradient", 4: "hessian", 8: "terms"}

ENTRY: Final = re.compile(r"^ptxas info\s*: Compiling entry function '(\w+)' for 'sm_(\w+)'")
MEMORY: Final = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores")
REGISTERS: Final = re.compile(r"Used (\d+) registers")

PTX_ENTRY: Final = re.compile(r"^\s*(?:\.visible |\.weak )?\.entry (\w+)\(", re.MULTILINE)
PTX_ACCESS: Final = re.compile(r"\b(ld|st)\.global(?:\.\w+)*?\.v(\d)\.[a-z]+(\d+)\b")
# What would not round to nearest as written; an operation without `.rn` may be contracted.
PTX_INEXACT: Final = re.compile(
    r"\b(?:\w+\.)*(?:ftz|approx|full)\b[\w.]*"
    r"|\b(?:add|sub|mul|mad|fma|div|rcp|sqrt)(?!\.rn\b)(?:\.\w+)*\.f(?:16|32|64)\b"
    r"|\b(?:ex2|lg2|sin|cos|tanh)\.[\w.]+"
)
SASS_ENTRY: Final = re.compile(r"^\.text\.(\w+):$", re.MULTILINE)
SASS_LOCAL: Final = re.compile(r"\b(?:LDL|STL)\b[\w.]*")
# Integer divisions flush what they start from, which is no result.
SASS_FLUSHED: Final = re.compile(r"\bF(?:ADD|MUL|FMA|MNMX|SETP|SEL)\b(?:\.\w+)*\.FTZ\b")

RUNTIME_KERNELS: Final = """
using namespace logitloss;

template <class Real>
__device__ void evaluate(const Real* logits, const Real* targets, Real* results) {
  using Loss = BinaryCrossEntropy;
  const Real x = logits[threadIdx.x];
  const Real y = targets[threadIdx.x];
  const Pair<Real> e = Loss::exponential(x);
  const Real m = Loss::opposed(x, Real{1} - y, y);
  const Real t = sigmoid_from(e);
  results[3 * threadIdx.x] = Loss::loss(x, m, Real{1}, e);
  results[3 * threadIdx.x + 1] = Loss::gradient(x, m, Real{1}, t);
  results[3 * threadIdx.x + 2] = Loss::hessian(Real{1}, t);
}

extern "C" __global__ void of_float(const float* x, const float* y, float* r) { evaluate(x, y, r); }
extern "C" __global__ void of_double(const double* x, const double* y, double* r) {
  evaluate(x, y, r);
}
"""


class CheckError(Exception):
    """A check that could not be made."""


class SkipError(Exception):
    """A check whose tool is missing."""


@dataclass(frozen=True)
class Kernel:
    """What ptxas reports of a kernel."""

    task: str
    architecture: str
    registers: int
    stack_bytes: int
    spilled_bytes: int

    def text(self) -> str:
        """Return the figures as a line."""
        return (
            f"sm_{self.architecture:4} {self.task:42} {self.registers:3} registers, "
            f"{self.stack_bytes:4} bytes of stack, {self.spilled_bytes:3} spilled"
        )


def task_of(symbol: str) -> str:
    """Return the task of a kernel, from its mangled name."""
    match = TASK.search(symbol)
    if match is None:
        raise CheckError(f"{symbol} does not look like a kernel of launch.cu")
    length, rest = int(match[1]), match[2]
    arguments = TASK_ARGUMENTS.match(rest[length:])
    if arguments is None:
        return rest[:length]
    number, outputs = arguments.groups()
    wanted = "+".join(text for bit, text in OUTPUTS.items() if int(outputs or 0) & bit)
    return f"{rest[:length]}<{NUMBERS[number]}{', ' if wanted else ''}{wanted}>"


def is_elementwise(task: str) -> bool:
    """Return whether a task is a plain one that sums nothing."""
    return task.startswith("PlainElements<")


def cmake_flags() -> list[str]:
    """Return the flags that CMake gives to nvcc."""
    text = (ROOT / "cpp" / "CMakeLists.txt").read_text()
    match = re.search(r"set\(LOGITLOSS_CUDA_FLAGS ([^$)]+)\)", text)
    if match is None:
        raise CheckError("cpp/CMakeLists.txt sets no LOGITLOSS_CUDA_FLAGS")
    return match.group(1).split()


def compile_kernels(nvcc: str, architectures: Sequence[str], folder: pathlib.Path) -> str:
    """Compile launch.cu, keep what is made on the way, and return what ptxas reports."""
    targets = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in architectures]
    command = [
        *(nvcc, "-std=c++20", "-O3", "-c", "-Xptxas=-v", "--keep", "--keep-dir", str(folder)),
        *cmake_flags(),
        *targets,
        *(f"-I{ROOT / 'cpp' / 'include'}", f"-I{SOURCES}"),
        *("-o", str(folder / "launch.o"), str(SOURCES / "cuda" / "launch.cu")),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CheckError(f"nvcc failed:\n{result.stderr}{result.stdout}")
    return result.stderr + result.stdout


def kept_file(folder: pathlib.Path, architecture: str, suffix: str) -> pathlib.Path:
    """Return what nvcc kept for an architecture; with one alone, its names are shorter."""
    names = (f"compute_{architecture}.{suffix}", f"sm_{architecture}.{suffix}", suffix)
    for name in names:
        if (path := folder / f"launch.{name}").exists():
            return path
    raise CheckError(f"nvcc kept no .{suffix} file for sm_{architecture}")


def kernels_of(report: str) -> list[Kernel]:
    """Return what a report of ptxas says about kernels."""
    kernels = []
    lines = iter(report.splitlines())
    for line in lines:
        entry = ENTRY.match(line)
        if entry is None:
            continue
        # The properties of the kernel itself stand before those of the functions that it calls.
        memory = next(filter(None, map(MEMORY.search, lines)))
        registers = next(filter(None, map(REGISTERS.search, lines)))
        stack, spilled = map(int, memory.groups())
        kernels.append(
            Kernel(task_of(entry[1]), entry[2], int(registers[1]), stack, spilled),
        )
    return kernels


def parts_of(text: str, heading: re.Pattern[str]) -> dict[str, str]:
    """Return the parts of an assembly by task; a part ends where the next begins."""
    starts = [(match.start(), match[1]) for match in heading.finditer(text)]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return {task_of(name): text[start:end] for (start, name), end in zip(starts, ends, strict=True)}


def widest(ptx: str, direction: str) -> int:
    """Return how many bytes the widest load (ld) or store (st) moves."""
    moved = [
        int(count) * int(bits) // 8
        for which, count, bits in PTX_ACCESS.findall(ptx)
        if which == direction
    ]
    return max(moved, default=0)


# --- Checks: each yields what is wrong -------------------------------------------------------


def spills(kernels: Sequence[Kernel], architectures: Sequence[str]) -> Iterator[str]:
    """Yield kernels of plain elementwise calls that do not stay in registers."""
    for architecture in architectures:
        if not any(k.architecture == architecture and is_elementwise(k.task) for k in kernels):
            yield f"sm_{architecture}: ptxas reported no kernel of plain elements"
    for kernel in kernels:
        if is_elementwise(kernel.task) and kernel.stack_bytes + kernel.spilled_bytes > 0:
            yield kernel.text()


def narrow_accesses(parts: dict[str, str], architecture: str) -> Iterator[str]:
    """Yield plain kernels that do not load, or not store, as widely as they can."""
    wanted = 32 if int(architecture) >= FIRST_WITH_256_BITS else 16
    for task, ptx in parts.items():
        directions = {"ld": "loads", "st": "stores"} if "Plain" in task else {}
        if task.endswith(("<float, terms>", "PlainSums<double, loss>")):
            # Nothing but a sum leaves these.
            del directions["st"]
        for direction, text in directions.items():
            if (found := widest(ptx, direction)) < wanted:
                yield f"sm_{architecture}: {task} {text} {found} bytes at once, not {wanted}"


def inexact_operations(ptx: str, name: str) -> Iterator[str]:
    """Yield operations of a PTX text that do not round to nearest as written."""
    without_comments = re.sub(r"//.*", "", ptx)
    for operation in sorted(set(PTX_INEXACT.findall(without_comments))):
        yield f"{name}: {operation}"
    if "fma.rn.f32" not in ptx or "fma.rn.f64" not in ptx:
        yield f"{name}: no fused multiply-add was found, so this is not the text that was meant"


def machine_code(nvdisasm: str, cubin: pathlib.Path, architecture: str) -> Iterator[str]:
    """Yield what is wrong with the instructions of plain kernels."""
    result = subprocess.run(
        [nvdisasm, "-c", str(cubin)], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise CheckError(f"nvdisasm failed:\n{result.stderr}")
    wanted = ".256" if int(architecture) >= FIRST_WITH_256_BITS else ".128"
    parts = parts_of(result.stdout, SASS_ENTRY)
    if not any(map(is_elementwise, parts)):
        yield f"sm_{architecture}: nvdisasm shows no kernel of plain elements"
    for task, sass in parts.items():
        for operation in sorted(set(SASS_FLUSHED.findall(sass))):
            yield f"sm_{architecture}: {task} has {operation}"
        if is_elementwise(task):
            for operation in sorted(set(SASS_LOCAL.findall(sass))):
                yield f"sm_{architecture}: {task} has {operation}, an access to local memory"
            for operation in ("LDG", "STG"):
                if not re.search(rf"\b{operation}(?:\.\w+)*\{wanted}\b", sass):
                    yield f"sm_{architecture}: {task} has no {operation}{wanted}"


def runtime_compilation() -> Iterator[str]:
    """Yield what is wrong with the headers when NVRTC compiles them."""
    folders = [SOURCES / "math", SOURCES / "losses"]
    headers = sorted(path for folder in folders for path in folder.glob("*.h"))
    includes = "".join(f'#include "{path.relative_to(SOURCES)}"\n' for path in headers)
    for architecture in ("compute_80", "compute_90"):
        options = [f"--gpu-architecture={architecture}", "--std=c++20", f"-I{SOURCES}"]
        options += [flag for flag in cmake_flags() if flag.startswith("-fmad")]
        try:
            ptx = nvrtc_ptx(load_nvrtc(), includes + RUNTIME_KERNELS, options)
        except CheckError as error:
            yield f"NVRTC, {architecture}: {error}"
            continue
        yield from inexact_operations(ptx, f"NVRTC, {architecture}")


# --- Tools -----------------------------------------------------------------------------------


def installed_files(pattern: str) -> list[str]:
    """Return files of NVIDIA's Python packages."""
    folder = pathlib.Path(sysconfig.get_path("purelib")) / "nvidia"
    return [str(path) for path in sorted(folder.glob(pattern))] if folder.exists() else []


def find_nvdisasm() -> str:
    """Return the program that shows machine code."""
    found = shutil.which("nvdisasm") or next(iter(installed_files("*/bin/nvdisasm")), None)
    if found is None:
        raise SkipError("nvdisasm was not found (pip install nvidia-cuda-nvdisasm)")
    if not os.access(found, os.X_OK):
        raise SkipError(
            f"nvdisasm is not executable, as old versions of pip leave it: chmod +x {found}"
        )
    return found


def load_nvrtc() -> ctypes.CDLL:
    """Return the library that compiles at run time."""
    for name in [*installed_files("*/lib/libnvrtc.so.*"), "libnvrtc.so", "libnvrtc.so.13"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise SkipError("libnvrtc was not found (pip install nvidia-cuda-nvrtc)")


def nvrtc_ptx(nvrtc: ctypes.CDLL, source: str, options: Sequence[str]) -> str:
    """Compile a source with NVRTC and return its PTX."""

    def text_of(size_function: str, text_function: str) -> str:
        size = ctypes.c_size_t()
        getattr(nvrtc, size_function)(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(max(size.value, 1))
        getattr(nvrtc, text_function)(program, text)
        return text.value.decode()

    program = ctypes.c_void_p()
    status = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"check.cu", 0, None, None
    )
    if status != 0:
        raise CheckError(f"nvrtcCreateProgram returned {status}")
    try:
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if nvrtc.nvrtcCompileProgram(program, len(options), arguments) != 0:
            raise CheckError(text_of("nvrtcGetProgramLogSize", "nvrtcGetProgramLog"))
        return text_of("nvrtcGetPTXSize", "nvrtcGetPTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


# --- Command line ----------------------------------------------------------------------------


class Report:
    """Prints the outcome of each check and remembers whether one failed."""

    def __init__(self) -> None:
        self.has_failed = False

    def tell(self, name: str, faults: Iterator[str]) -> None:
        """Run a check."""
        try:
            found = list(faults)
        except SkipError as error:
            print(f"skipped  {name}: {error}")
            return
        self.has_failed = self.has_failed or bool(found)
        print(f"{'FAILED' if found else 'ok':8} {name}")
        for fault in found:
            print(f"         {fault}")


def machine_codes(folder: pathlib.Path, architectures: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the machine code of any architecture."""
    nvdisasm = find_nvdisasm()
    for name in architectures:
        yield from machine_code(nvdisasm, kept_file(folder, name, "cubin"), name)


def check(nvcc: str, architectures: Sequence[str], folder: pathlib.Path) -> bool:
    """Make all checks, print what they find, and return whether one failed."""
    kernels = kernels_of(compile_kernels(nvcc, architectures, folder))
    for kernel in sorted(kernels, key=lambda kernel: (int(kernel.architecture), kernel.task)):
        print(kernel.text())
    texts = {name: kept_file(folder, name, "ptx").read_text() for name in architectures}
    report = Report()
    report.tell("plain elements stay in registers", spills(kernels, architectures))
    report.tell(
        "plain kernels move as many bytes at once as they can",
        (
            fault
            for name, ptx in texts.items()
            for fault in narrow_accesses(parts_of(ptx, PTX_ENTRY), name)
        ),
    )
    report.tell(
        "arithmetic is what is written",
        (
            fault
            for name, ptx in texts.items()
            for fault in inexact_operations(ptx, f"compute_{name}")
        ),
    )
    report.tell("so is the machine code", machine_codes(folder, architectures))
    report.tell("NVRTC accepts the mathematics and the losses", runtime_compilation())
    return report.has_failed


def architecture_names(text: str) -> list[str]:
    """Read the names of architectures, such as 80,90."""
    names = [name for name in text.split(",") if name]
    if not names or not all(name.isdigit() for name in names):
        raise argparse.ArgumentTypeError(f"expected numbers such as 80,90, got {text!r}")
    return names


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\nUsage")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--nvcc", default="nvcc", help="CUDA's compiler (default: that of PATH)")
    parser.add_argument(
        "--architectures",
        type=architecture_names,
        default=list(ARCHITECTURES),
        metavar="N,...",
        help=f"compute capabilities (default: {','.join(ARCHITECTURES)})",
    )
    arguments = parser.parse_args()
    nvcc = shutil.which(arguments.nvcc)
    if nvcc is None:
        print(f"check_cuda_build: {arguments.nvcc} was not found", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            has_failed = check(nvcc, arguments.architectures, pathlib.Path(folder))
        except CheckError as error:
            print(f"check_cuda_build: {error}", file=sys.stderr)
            return 1
    return 1 if has_failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
