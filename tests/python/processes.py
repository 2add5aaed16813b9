"""Runs Python programs in processes of their own, and ends them with all their children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIMEOUT_SECONDS = 240.0


def run(
    command: list[str], environment: Mapping[str, str], timeout: float = TIMEOUT_SECONDS
) -> tuple[int, str, str]:
    """Run a command in this folder and return its exit status, output and error output.

    The command has a session of its own. When it takes too long the whole session is killed,
    because a child that hangs would otherwise keep the pipes open, and TimeoutError is raised.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE,
        env={**os.environ, **environment},
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_session(process)
            raise TimeoutError(f"the program still ran after {timeout} s: {command}") from None
    return process.returncode, output, errors


def _kill_session(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def run_python(code: str, *arguments: str, **environment: str) -> str:
    """Run a program that has to succeed and return what it prints."""
    status, output, errors = run([sys.executable, "-c", code, *arguments], environment)
    if status != 0:
        raise AssertionError(f"the program ended with status {status}:\n{output}\n{errors}")
    return output


def failure_of_python(code: str, **environment: str) -> tuple[int, str]:
    """Run a program that may fail and return its exit status and its error output."""
    status, _, errors = run([sys.executable, "-c", code], environment)
    return status, errors
