"""Checks what the objects of the library hold, so that no processor meets foreign instructions.

Usage: check_objects.py [--nm NM] [--objdump OBJDUMP] ARCHIVE_OR_OBJECT...

The linker keeps one copy of a weak function, from any object. A copy that was compiled for
AVX-512 would then run on every processor. So an object for one instruction set, isa_*, may export
its table and nothing else, and only isa_avx2 and isa_avx512 may hold instructions beyond SSE2.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator

NAME_OF_OBJECT = re.compile(r"^(?:.*[(/\\])?([^(/\\]+?)(?:\.(?:cpp|cc|c))?\.(?:o|obj)\)?:")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*\t(\S.*)$")
SYMBOL = re.compile(r"^(?:[0-9a-f]+)? *([A-Za-z]) (.+)$")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")

# Where none of these stand, a VEX or EVEX instruction begins with one of three bytes, which in
# 64-bit code mean nothing else.
SEGMENT_AND_ADDRESS_PREFIXES = {"26", "2e", "36", "3e", "64", "65", "67"}
LEGACY_PREFIXES = SEGMENT_AND_ADDRESS_PREFIXES | {"66", "f0", "f2", "f3"}
MASK_REGISTER = re.compile(r"%k[0-7]\b")


def run(command: list[str]) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def without(prefixes: set[str], encoding: list[str]) -> list[str]:
    """Return the bytes of an instruction that follow its prefixes."""
    first = next((i for i, byte in enumerate(encoding) if byte not in prefixes), len(encoding))
    return encoding[first:]


def is_vex(encoding: list[str]) -> bool:
    return without(SEGMENT_AND_ADDRESS_PREFIXES, encoding)[:1] in (["c4"], ["c5"])


def is_evex(encoding: list[str]) -> bool:
    return without(SEGMENT_AND_ADDRESS_PREFIXES, encoding)[:1] == ["62"]


def is_beyond_sse2(encoding: list[str]) -> bool:
    """Say whether an instruction has three opcode bytes, as those of SSSE3 and SSE4 have."""
    rest = without(LEGACY_PREFIXES, encoding)
    if rest and rest[0][0] == "4":
        rest = rest[1:]
    return rest[:2] in (["0f", "38"], ["0f", "3a"])


def complaint_about(name: str, encoding: list[str], text: str) -> str | None:
    """Return what is wrong with an instruction of an object, or None."""
    if name == "isa_avx512":
        return None
    if is_evex(encoding) or "%zmm" in text or MASK_REGISTER.search(text):
        return "an instruction of AVX-512"
    if name == "isa_avx2":
        return None
    if is_vex(encoding) or "%ymm" in text:
        return "an instruction of AVX"
    if is_beyond_sse2(encoding):
        return "an instruction beyond SSE2"
    return None


def wrong_instructions(objdump: str, path: str) -> Iterator[str]:
    """Yield the first foreign instruction of each function."""
    name, function, found = "", "", False
    for line in run([objdump, "-d", "-w", path]).splitlines():
        if "file format" in line:
            match = NAME_OF_OBJECT.match(line)
            name = match.group(1) if match else line
        elif match := FUNCTION.match(line):
            function, found = match.group(1), False
        elif not found and (match := INSTRUCTION.match(line)):
            complaint = complaint_about(name, match.group(2).split(), match.group(3))
            if complaint:
                found = True
                yield f"{name}: {complaint}: {match.group(3).strip()} in {function}"


def symbols(nm: str, path: str) -> dict[str, list[tuple[str, str]]]:
    """Return the type and name of the symbols of each object."""
    result: dict[str, list[tuple[str, str]]] = {}
    # An object alone has no headline, an archive has one for each object.
    name = NAME_OF_OBJECT.match(path + ":")
    current = result.setdefault(name.group(1), []) if name else []
    for line in run([nm, "-C", path]).splitlines():
        if line.endswith(":") and (name := NAME_OF_OBJECT.match(line)):
            current = result.setdefault(name.group(1), [])
        elif match := SYMBOL.match(line.strip()):
            current.append((match.group(1), match.group(2)))
    return result


def wrong_symbols(name: str, found: list[tuple[str, str]]) -> Iterator[str]:
    """Yield what an object for one instruction set must not export or call."""
    table = f"logitloss::{name.removeprefix('isa_')}_kernels"
    has_table = False
    for kind, symbol in found:
        is_defined_outside = kind in "ABCDGRSTVWiuvw" and kind != "U"
        if symbol == table and kind in "BDGRS":
            has_table = True
        elif is_defined_outside:
            yield f"{name}: exports {symbol} ({kind}), and should export {table} alone"
        elif kind == "U" and symbol in ("fma", "fmaf", "fmal"):
            yield f"{name}: calls {symbol} of the mathematical library for each element"
    if not has_table:
        yield f"{name}: does not export {table}"


def main() -> int:
    """Check all files and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--objdump", default="objdump")
    arguments = parser.parse_args()
    problems: list[str] = []
    names: list[str] = []
    for path in arguments.files:
        problems += wrong_instructions(arguments.objdump, path)
        for name, found in symbols(arguments.nm, path).items():
            names.append(name)
            if name.startswith("isa_"):
                problems += wrong_symbols(name, found)
    for expected in ("isa_baseline", "isa_avx2", "isa_avx512"):
        if expected not in names:
            problems.append(f"{expected}: there is no such object among {', '.join(names)}")
    for problem in problems:
        print(problem)
    print(f"{len(names)} objects, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
