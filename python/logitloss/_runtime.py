"""The compiled core: its version, instruction sets, threads and files."""

from __future__ import annotations

import operator
import os
import pathlib
from typing import Any

import numpy as np

from logitloss import _core

__version__: str = _core.version()

_MOST_THREADS = 4096


def get_num_threads() -> int:
    """Return the largest number of threads that a call uses.

    It is what `set_num_threads` or the environment variable ``LOGITLOSS_NUM_THREADS`` set, else
    what OpenMP would use: ``OMP_NUM_THREADS``, or the processors that this process may run on.

    Examples
    --------
    >>> import logitloss
    >>> logitloss.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set the largest number of threads that a call uses, for the whole process.

    Results do not depend on it. Small arrays are computed in one thread in any case.

    Parameters
    ----------
    n : int
        From 1 to 4096.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is below 1 or above 4096.

    Examples
    --------
    >>> import logitloss
    >>> before = logitloss.get_num_threads()
    >>> logitloss.set_num_threads(1)
    >>> logitloss.get_num_threads()
    1
    >>> logitloss.set_num_threads(before)
    """
    if isinstance(n, (bool, np.bool_)) or not hasattr(n, "__index__"):
        raise TypeError(f"n must be an int from 1 to {_MOST_THREADS}, not {type(n).__name__}")
    count = operator.index(n)
    if not 1 <= count <= _MOST_THREADS:
        # Python gives no text for integers of thousands of digits.
        given = f", not {count}" if count.bit_length() <= 64 else ""
        raise ValueError(f"n must be an int from 1 to {_MOST_THREADS}{given}")
    _core.set_num_threads(count)


def config() -> dict[str, Any]:
    """Return what the compiled core is and what it uses on this machine.

    Returns
    -------
    dict
        ``version`` (str), ``isa`` (str, the instruction set in use), ``isas`` (tuple of str,
        those that this processor can run), ``compiler`` (str), ``openmp`` (int, the date of the
        OpenMP specification, or 0 without OpenMP), ``num_threads`` (int) and ``cuda`` (bool,
        whether the core was built with CUDA).

    Examples
    --------
    >>> import logitloss
    >>> logitloss.config()["isa"] in logitloss.config()["isas"]
    True
    """
    return {
        "version": __version__,
        "isa": _core.isa(),
        "isas": _core.available_isas(),
        "compiler": _core.compiler(),
        "openmp": _core.openmp(),
        "num_threads": get_num_threads(),
        "cuda": _core.cuda_platform() == "cuda",
    }


def show_config() -> None:
    """Print `config`, one entry a line."""
    for name, value in config().items():
        text = ", ".join(value) if isinstance(value, tuple) else value
        print(f"{name + ':':<13}{text}")


def _installed(*parts: str) -> str:
    # In an editable install this module stays in the source tree; the core stands with the files.
    return str(pathlib.Path(_core.__file__).resolve().parent.joinpath(*parts))


def get_include() -> str:
    """Return the directory of the C and C++ headers, ``logitloss/logitloss.h`` below it."""
    return _installed("include")


def get_cmake_dir() -> str:
    """Return the directory of the CMake package, for ``-Dlogitloss_ROOT=`` or ``logitloss_DIR``."""
    return _installed("share", "cmake", "logitloss")


def _thread_count(text: str) -> int:
    """Return the value of ``LOGITLOSS_NUM_THREADS``, or say what would be right."""
    digits = text.lstrip("0") if text.isascii() and text.isdigit() else ""
    # The length comes first, because int() refuses texts of thousands of digits.
    if 1 <= len(digits) <= len(str(_MOST_THREADS)) and int(digits) <= _MOST_THREADS:
        return int(digits)
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    raise ImportError(
        f"LOGITLOSS_NUM_THREADS={shown!r} must be an integer from 1 to {_MOST_THREADS}"
    )


def _apply_environment() -> None:
    """Apply ``LOGITLOSS_ISA`` and ``LOGITLOSS_NUM_THREADS``, or say why that cannot be done."""
    isa = os.environ.get("LOGITLOSS_ISA")
    if isa is not None and not _core.select_isa(isa):
        valid = ", ".join(_core.available_isas())
        raise ImportError(f"LOGITLOSS_ISA={isa!r} cannot be used on this processor; valid: {valid}")
    threads = os.environ.get("LOGITLOSS_NUM_THREADS")
    if threads is not None:
        set_num_threads(_thread_count(threads))


_apply_environment()
