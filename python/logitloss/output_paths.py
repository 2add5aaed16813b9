"""Paths of files that a command is going to write, as types of its arguments."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

PLOT_SUFFIXES: Final = (".png", ".pdf", ".svg")


def plot_path(text: str) -> Path:
    """Check before any work that a plot can be written to the path."""
    if Path(text).suffix.lower() not in PLOT_SUFFIXES:
        endings = f"{', '.join(PLOT_SUFFIXES[:-1])} or {PLOT_SUFFIXES[-1]}"
        raise argparse.ArgumentTypeError(f"expected a file name ending in {endings}, got {text!r}")
    return writable_path(text)


def writable_path(text: str) -> Path:
    """Check before any work that a file can be written to the path."""
    path = Path(text)
    try:
        # Only opening a file tells reliably whether it can be written. A link may point to a file
        # that does not exist yet: then that file is tried and removed, and the link stays.
        file = Path(os.path.realpath(path))
        existed = file.exists()
        with file.open("ab"):
            pass
        if not existed:
            file.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise argparse.ArgumentTypeError(f"cannot write {text!r}: {reason}") from None
    return path
