"""The command line, as ``python -m logitloss`` and as the installed ``logitloss``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

import pytest

import logitloss
from processes import run

DEMO_PACKAGES = ("sklearn", "matplotlib")


def command(*arguments: str) -> tuple[int, str, str]:
    """Run ``python -m logitloss`` and return its exit status, output and error output."""
    return run([sys.executable, "-m", "logitloss", *arguments], {})


def test_version() -> None:
    status, output, _ = command("--version")
    assert status == 0
    assert output.strip() == f"logitloss {logitloss.__version__}"


def test_help_names_every_command() -> None:
    status, output, _ = command("--help")
    assert status == 0
    for name in ("info", "demo"):
        assert name in output


@pytest.mark.parametrize("name", ["info", "demo"])
def test_help_of_a_command(name: str) -> None:
    status, output, _ = command(name, "--help")
    assert status == 0
    assert "usage: " in output
    assert f"logitloss {name}" in output


def test_help_of_the_demo_names_its_plot() -> None:
    assert "--plot" in command("demo", "--help")[1]


def test_info() -> None:
    status, output, errors = command("info")
    config = logitloss.config()
    assert status == 0
    assert errors == ""
    assert logitloss.__version__ in output
    assert str(config["compiler"]) in output
    for isa in config["isas"]:
        assert isa in output
    for word in ("thread", "cuda"):
        assert word in output.lower()


@pytest.mark.parametrize(
    ("option", "folder"),
    [("--include", logitloss.get_include), ("--cmakedir", logitloss.get_cmake_dir)],
)
def test_info_prints_only_a_path(option: str, folder: object) -> None:
    status, output, errors = command("info", option)
    assert status == 0
    assert errors == ""
    assert callable(folder)
    assert output == f"{folder()}\n"
    assert Path(output.strip()).is_dir()


def test_info_for_programs() -> None:
    status, output, _ = command("info", "--json")
    assert status == 0
    assert json.loads(output)["version"] == logitloss.__version__


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["info", "--nonsense"], ["demo", "--plot"]], ids=str
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    status, output, errors = command(*arguments)
    assert status == 2
    assert output == ""
    assert "usage: " in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
@pytest.mark.parametrize("arguments", ["info", "info --json", "--help"])
def test_output_that_cannot_be_written(arguments: str, redirection: str) -> None:
    if redirection.endswith("full") and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    program = f'"{sys.executable}" -m logitloss {arguments} {redirection}'
    # Unbuffered, argparse would notice itself that it cannot write the help, and say nothing.
    status, _, errors = run(["sh", "-c", program], {"PYTHONUNBUFFERED": ""})
    assert status == 1
    assert errors.startswith("logitloss: ")
    assert len(errors.splitlines()) == 1


def test_a_plot_over_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    """Trying whether the file can be written leaves the link and makes no file."""
    link, target = tmp_path / "link.png", tmp_path / "target.png"
    link.symlink_to(target)
    assert command("demo", "--plot", str(link), "--epochs", "none")[0] == 2
    assert link.is_symlink()
    assert not target.exists()
    link.unlink()
    link.symlink_to(tmp_path / "nowhere" / "target.png")
    status, _, errors = command("demo", "--plot", str(link))
    assert status == 2
    assert "cannot write" in errors
    assert link.is_symlink()


def test_the_installed_command_is_the_same() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts", name="logitloss")
    (script,) = scripts
    main = script.load()
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0


def test_demo(tmp_path: Path) -> None:
    """The whole demonstration is one test; it ends with 0 only if the training succeeded."""
    for package in DEMO_PACKAGES:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package}, of the extra 'demo', is not installed")
    picture = tmp_path / "curves.png"
    status, output, errors = command("demo", "--plot", str(picture))
    assert status == 0, output + errors
    assert "Starting epoch 1" in output
    assert "Loss after mini-batch" in output
    assert "accuracy" in output.lower()
    assert picture.read_bytes().startswith(b"\x89PNG")
