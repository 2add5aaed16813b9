"""Bad input: the exception, the words of its message, and what it leaves untouched."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import logitloss
from arrays import WRITEABLE_LAYOUTS, hard_targets, is_float, lay_out, same_bits
from oracle import Reduction

SHAPE = (4, 3)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "loss": logitloss.bce_with_logits,
    "grad": logitloss.bce_with_logits_grad,
    "value_and_grad": logitloss.bce_with_logits_value_and_grad,
    "grad_hess": logitloss.bce_with_logits_grad_hess,
}
GRADIENTS = ("grad", "value_and_grad")

functions = pytest.mark.parametrize("name", FUNCTIONS)
gradients = pytest.mark.parametrize("name", GRADIENTS)

EITHER = (TypeError, ValueError)


@dataclass(frozen=True)
class Bad:
    """A bad call: what replaces the good arguments, the exception, and patterns of its message."""

    label: str
    error: type[Exception] | tuple[type[Exception], ...]
    patterns: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)


def bad_type(name: str, value: Any, *patterns: str, label: str = "") -> Bad:
    """Describe an argument of a wrong type."""
    described = label or str(getattr(value, "dtype", type(value).__name__))
    return Bad(f"{name}-{described}", TypeError, (rf"\b{name}\b", *patterns), {name: value})


def bad_value(name: str, value: Any, *patterns: str, label: str = "") -> Bad:
    """Describe an argument of the right type with a value that does not fit."""
    described = label or str(value).replace(" ", "")
    return Bad(f"{name}-{described}", ValueError, (rf"\b{name}\b", *patterns), {name: value})


def zeros(dtype: Any, shape: tuple[int, ...] = SHAPE) -> Any:
    """Return zeros of any dtype at all."""
    return np.zeros(shape, dtype)


def shape_pattern(*lengths: int) -> str:
    """Return the pattern of a shape as Python writes it."""
    return re.escape(str(lengths))


MASKED = np.ma.masked_array(zeros(np.float32), mask=False)
SWAPPED = "byte.?order"

BAD_TYPES = [
    bad_type("logits", zeros(np.complex64), "complex64", "float32"),
    bad_type("logits", zeros(np.complex128), "complex128", "float32"),
    bad_type("logits", zeros(object), "object", "float32"),
    bad_type("logits", zeros("U3"), "float32"),
    bad_type("logits", zeros("S3"), "float32"),
    bad_type("logits", zeros("datetime64[s]"), "datetime64", "float32"),
    bad_type("logits", zeros("timedelta64[s]"), "timedelta64", "float32"),
    bad_type("logits", zeros(np.bool_), "bool", "float32"),
    bad_type("logits", zeros(np.longdouble), "float32", label="longdouble"),
    bad_type("logits", zeros(">f4"), SWAPPED),
    bad_type("logits", zeros(">f8"), SWAPPED),
    bad_type("logits", zeros(">i4"), SWAPPED),
    bad_type("logits", zeros([("a", "f4")]), "float32", label="record"),
    bad_type("logits", zeros(ml_dtypes.float8_e4m3fn), "float8_e4m3fn", "float32"),
    bad_type("logits", MASKED, "where=", label="masked"),
    bad_type("logits", [[None] * 3] * 4, "object", label="None"),
    bad_type("logits", [[True] * 3] * 4, "bool", label="list of bool"),
    bad_type("logits", [["0"] * 3] * 4, label="list of str"),
    bad_type("targets", zeros(np.complex64), "complex64"),
    bad_type("targets", zeros(object), "object"),
    bad_type("targets", zeros("U3")),
    bad_type("targets", zeros("datetime64[s]"), "datetime64"),
    bad_type("targets", zeros(np.longdouble), label="longdouble"),
    bad_type("targets", zeros(">f4"), SWAPPED),
    bad_type("targets", zeros(">i2"), SWAPPED),
    bad_type("targets", MASKED, "where=", label="masked"),
    bad_type("weight", zeros(np.complex64), "complex64"),
    bad_type("weight", zeros(object), "object"),
    bad_type("weight", zeros(">f8"), SWAPPED),
    bad_type("weight", "heavy"),
    bad_type("weight", 1j),
    bad_type("weight", MASKED, "where=", label="masked"),
    bad_type("pos_weight", zeros(np.complex64), "complex64"),
    bad_type("pos_weight", zeros("U3")),
    bad_type("pos_weight", zeros(">f8"), SWAPPED),
    bad_type("pos_weight", MASKED, "where=", label="masked"),
    bad_type("where", zeros(np.uint8), "uint8", "bool"),
    bad_type("where", zeros(np.float32), "float32", "bool"),
    bad_type("where", 1, "bool"),
    bad_type("where", "yes", "bool"),
    bad_type("label_smoothing", "0.1"),
    bad_type("label_smoothing", None, label="None"),
    bad_type("label_smoothing", [0.1]),
    bad_type("label_smoothing", 0.1j),
    bad_type("ignore_index", "x"),
    bad_type("ignore_index", [1]),
    bad_type("ignore_index", 1j),
    bad_type("ignore_index", np.complex64(1 + 2j), "real"),
    bad_type("ignore_index", True, "real", label="bool"),
    bad_type("ignore_index", np.True_, "real", label="numpy bool"),
    bad_type("ignore_index", np.str_("1"), "real", label="numpy str"),
    bad_type("ignore_index", np.array([1]), "real", label="array"),
    bad_type("label_smoothing", False, "real", label="bool"),
    bad_type("label_smoothing", np.False_, "real", label="numpy bool"),
    bad_type("label_smoothing", np.complex128(0), "real", label="numpy complex"),
    bad_type("validate", None, "bool", label="None"),
    bad_type("validate", [], "bool"),
    bad_type("validate", 0, "bool"),
    bad_type("validate", np.array([True]), "bool", label="array"),
    bad_type("logits", [np.ma.masked_array([0.0] * 3)] * 4, "where=", label="list of masked"),
    bad_type("targets", [[0, 0, np.ma.masked]] * 4, "where=", label="list with masked"),
    bad_type("logits", zeros(">f4"), r"logits\.dtype\.newbyteorder\('='\)", label="advice"),
    bad_type("targets", zeros(">i2"), r"targets\.dtype\.newbyteorder\('='\)", label="advice"),
    bad_type("reduction", None, label="None"),
    bad_type("reduction", 1),
    bad_type("reduction", ["mean"]),
    bad_type("axis", 1.0),
    bad_type("axis", "0"),
    bad_type("axis", [0]),
    bad_type("axis", (0, 1.0)),
    bad_type("num_threads", 2.0, "int"),
    bad_type("num_threads", "2", "int"),
    bad_type("num_threads", True, "int", label="bool"),
]

BAD_VALUES = [
    bad_value(
        "targets", zeros(np.uint8, (4,)), shape_pattern(4, 3), shape_pattern(4), label="(4,)"
    ),
    bad_value(
        "targets", zeros(np.uint8, (3,)), shape_pattern(4, 3), shape_pattern(3), label="(3,)"
    ),
    bad_value("targets", zeros(np.uint8, (4, 1)), shape_pattern(4, 1), label="(4,1)"),
    bad_value("targets", zeros(np.uint8, (3, 4)), shape_pattern(3, 4), label="(3,4)"),
    bad_value("targets", zeros(np.uint8, (1, 4, 3)), shape_pattern(1, 4, 3), label="(1,4,3)"),
    bad_value("targets", 0, shape_pattern(4, 3), r"\(\)"),
    bad_value("weight", zeros(float, (5,)), shape_pattern(5), shape_pattern(4, 3), label="(5,)"),
    bad_value("weight", zeros(float, (2, 4, 3)), shape_pattern(2, 4, 3), label="(2,4,3)"),
    bad_value("weight", zeros(float, (1, 4, 3)), shape_pattern(1, 4, 3), label="(1,4,3)"),
    bad_value("weight", zeros(float, (0,)), shape_pattern(0), label="(0,)"),
    bad_value(
        "pos_weight", zeros(float, (2,)), shape_pattern(2), shape_pattern(4, 3), label="(2,)"
    ),
    bad_value("pos_weight", zeros(float, (4,)), "reshape", r"\((4|-1), 1\)", label="(4,)"),
    bad_value("where", zeros(bool, (4,)), shape_pattern(4), shape_pattern(4, 3), label="(4,)"),
    bad_value("where", zeros(bool, (2, 4, 3)), shape_pattern(2, 4, 3), label="(2,4,3)"),
    bad_value("label_smoothing", 1.0, r"1\.0", r"\[0, 1\)"),
    bad_value("label_smoothing", -0.1, r"-0\.1", r"\[0, 1\)"),
    bad_value("label_smoothing", 7, "7", r"\[0, 1\)"),
    bad_value("label_smoothing", math.nan, "nan", r"\[0, 1\)"),
    bad_value("label_smoothing", math.inf, "inf", r"\[0, 1\)"),
    bad_value("weight", 10**400, label="huge"),
    bad_value("weight", -(10**5000), label="huge and negative"),
    bad_value("pos_weight", 10**400, label="huge"),
    bad_value("label_smoothing", 10**400, label="huge"),
    bad_value("ignore_index", 10**400, label="huge"),
    bad_value("ignore_index", 10**5000, label="too long for Python"),
    bad_value("ignore_index", 2**53 + 1, "float64", "9007199254740993"),
    bad_value("ignore_index", np.int64(-(2**53) - 1), "float64", "-9007199254740993"),
    bad_value("axis", 10**5000, label="too long for Python"),
    bad_value("num_threads", -(10**5000), label="too long for Python"),
    bad_value("reduction", "\ud800", "weighted_mean", label="surrogate"),
    bad_value("reduction", "avg", "avg", "none", "sum", r"\bmean", "weighted_mean"),
    bad_value("reduction", "Mean", "Mean", "weighted_mean"),
    bad_value("reduction", "", "weighted_mean"),
    bad_value("axis", 2, r"\b2\b"),
    bad_value("axis", -3, "-3"),
    bad_value("axis", (0, 5), r"\b5\b"),
    bad_value("axis", (0, 0)),
    bad_value("axis", (0, -2)),
    bad_value("num_threads", 0, r"\b0\b", r"\b1\b"),
    bad_value("num_threads", -2, "-2", r"\b1\b"),
]


def call(name: str, bad: Bad, **more: Any) -> Any:
    """Make a call that is good but for what ``bad`` replaces."""
    arguments: dict[str, Any] = {"logits": zeros(np.float32), "targets": zeros(np.uint8)}
    return FUNCTIONS[name](**{**arguments, **more, **bad.arguments})


def fresh_outputs(name: str) -> tuple[Any, list[Any]]:
    """Return a good ``out`` for a function with the default reduction, and its arrays."""
    arrays = [np.full((), 9.0), np.full(SHAPE, 9, np.float32), np.full(SHAPE, 9, np.float32)]
    choices = {
        "loss": (arrays[0], arrays[:1]),
        "grad": (arrays[1], arrays[1:2]),
        "value_and_grad": ((arrays[0], arrays[1]), arrays[:2]),
        "grad_hess": ((arrays[1], arrays[2]), arrays[1:]),
    }
    return choices[name]


def message_of(error: Any, refused: Callable[[], Any]) -> str:
    """Return the message of the exception that a call raises."""
    with pytest.raises(error) as caught:
        refused()
    return str(caught.value)


def missing(patterns: tuple[str, ...], message: str) -> list[str]:
    """Return the patterns that do not occur, whatever their order and case."""
    return [pattern for pattern in patterns if not re.search(pattern, message, re.IGNORECASE)]


@pytest.mark.parametrize("bad", BAD_TYPES + BAD_VALUES, ids=lambda bad: bad.label)
@functions
def test_bad_arguments(name: str, bad: Bad) -> None:
    message = message_of(bad.error, lambda: call(name, bad))
    assert missing(bad.patterns, message) == []


@pytest.mark.parametrize(
    "bad",
    [bad for bad in BAD_TYPES + BAD_VALUES if "logits" not in bad.arguments],
    ids=lambda bad: bad.label,
)
@functions
def test_bad_arguments_leave_the_output_alone(name: str, bad: Bad) -> None:
    out, arrays = fresh_outputs(name)
    with pytest.raises(bad.error):
        call(name, bad, out=out)
    assert all(np.all(array == 9) for array in arrays)


@pytest.mark.parametrize("name", ["logits", "targets"])
def test_a_column_never_broadcasts_against_a_vector(name: str) -> None:
    arguments: dict[str, Any] = {"logits": np.zeros(3), "targets": np.zeros(3)}
    arguments[name] = np.zeros((3, 1))
    with pytest.raises(ValueError, match=r"\(3,") as caught:
        logitloss.bce_with_logits(**arguments)
    assert "(3, 1)" in str(caught.value)
    assert "(3,)" in str(caught.value)


@functions
def test_an_axis_makes_no_sense_for_elementwise_losses(name: str) -> None:
    for axis in (0, -1, (0, 1), ()):
        with pytest.raises(ValueError, match="axis") as caught:
            call(name, Bad("", ValueError, (), {"axis": axis, "reduction": "none"}))
        assert "none" in str(caught.value)


@functions
def test_an_axis_of_a_scalar(name: str) -> None:
    for axis in (0, -1):
        with pytest.raises(ValueError, match="axis"):
            FUNCTIONS[name](1.0, 1, axis=axis)


@functions
def test_a_pos_weight_for_another_axis_says_how_to_reshape(name: str) -> None:
    logits = np.zeros((2, 5, 6, 7), np.float32)
    with pytest.raises(ValueError, match="pos_weight") as caught:
        FUNCTIONS[name](logits, np.zeros(logits.shape), pos_weight=np.ones(5))
    assert "reshape" in str(caught.value)
    assert re.search(r"\((5|-1), 1, 1\)", str(caught.value))


@functions
def test_unknown_keyword(name: str) -> None:
    with pytest.raises(TypeError, match="posweight"):
        FUNCTIONS[name](zeros(float), zeros(float), posweight=1.0)


@functions
def test_an_unknown_keyword_that_is_no_text(name: str) -> None:
    with pytest.raises(TypeError, match=r"'\\ud800'"):
        FUNCTIONS[name](zeros(float), zeros(float), **{"\ud800": 1.0})


class Interrupting:
    """A number whose value cannot be had because the user has pressed Ctrl-C."""

    def __index__(self) -> int:
        raise KeyboardInterrupt

    def __float__(self) -> float:
        raise KeyboardInterrupt


@pytest.mark.parametrize("option", ["axis", "num_threads", "label_smoothing", "ignore_index"])
@functions
def test_an_interrupt_is_not_swallowed(name: str, option: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        FUNCTIONS[name](zeros(float), zeros(float), **{option: Interrupting()})


@functions
def test_a_complex_scalar_is_no_number_even_if_its_warning_is_silenced(name: str) -> None:
    options: dict[str, Any] = {"ignore_index": np.complex64(1 + 2j)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TypeError, match="ignore_index must be a real number"):
            FUNCTIONS[name](zeros(float), zeros(float), **options)


@functions
def test_bools_of_every_kind_for_validate(name: str) -> None:
    targets = np.full(3, 7.0)
    for yes in (True, np.True_):
        with pytest.raises(ValueError, match="targets"):
            FUNCTIONS[name](np.zeros(3), targets, validate=yes)
    for no in (False, np.False_):
        FUNCTIONS[name](np.zeros(3), targets, validate=no)


@functions
def test_missing_targets(name: str) -> None:
    with pytest.raises(TypeError, match="targets"):
        FUNCTIONS[name](zeros(float))


@functions
def test_options_are_keywords_only(name: str) -> None:
    with pytest.raises(TypeError, match="positional"):
        FUNCTIONS[name](zeros(float), zeros(float), zeros(float))


@functions
def test_an_argument_given_twice(name: str) -> None:
    with pytest.raises(TypeError, match="targets"):
        FUNCTIONS[name](zeros(float), zeros(float), targets=zeros(float))


@functions
def test_ragged_lists(name: str) -> None:
    with pytest.raises(EITHER):
        FUNCTIONS[name]([[1.0, 2.0], [3.0]], [[1, 0], [1]])


def test_only_derivatives_take_grad_output() -> None:
    with pytest.raises(TypeError, match="grad_output"):
        FUNCTIONS["loss"](zeros(float), zeros(float), grad_output=1.0)


GRAD_OUTPUTS = [
    Bad("vector", ValueError, (r"\(4,\)",), {"grad_output": np.ones(4)}),
    Bad("one", ValueError, (r"\(1,\)",), {"grad_output": np.ones(1)}),
    Bad("axis", ValueError, (r"\(4,\)", r"\(3,\)"), {"grad_output": np.ones(4), "axis": 0}),
    Bad("complex", TypeError, ("complex",), {"grad_output": 1j}),
    Bad("string", TypeError, (), {"grad_output": "1"}),
    Bad("huge", ValueError, ("float64",), {"grad_output": 10**400}),
    Bad("swapped", TypeError, (SWAPPED,), {"grad_output": np.ones(3, ">f8"), "axis": 0}),
    Bad("masked", TypeError, (), {"grad_output": np.ma.masked_array(np.ones(3)), "axis": 0}),
]


@pytest.mark.parametrize("bad", GRAD_OUTPUTS, ids=lambda bad: bad.label)
@gradients
def test_bad_grad_output(name: str, bad: Bad) -> None:
    message = message_of(bad.error, lambda: call(name, bad))
    assert missing(("grad_output", *bad.patterns), message) == []


def frozen() -> Any:
    """Return a good output that is read-only."""
    array = np.full(SHAPE, 9, np.float32)
    array.flags.writeable = False
    return array


BAD_OUTPUTS: list[tuple[str, Any, Any, str]] = [
    ("read-only", frozen(), ValueError, "read-?only|writeable|writable"),
    ("shape", np.zeros((3, 4), np.float32), ValueError, r"\(3, 4\)"),
    ("too large", np.zeros((1, 4, 3), np.float32), ValueError, r"\(1, 4, 3\)"),
    ("vector", np.zeros(12, np.float32), ValueError, r"\(12,\)"),
    ("float64", np.zeros(SHAPE), EITHER, "float64"),
    ("float16", np.zeros(SHAPE, np.float16), EITHER, "float16"),
    ("int32", np.zeros(SHAPE, np.int32), EITHER, "int32"),
    ("swapped", np.zeros(SHAPE, ">f4"), EITHER, ""),
    ("list", [[0.0] * 3] * 4, TypeError, "list"),
    ("string", "result", TypeError, "str"),
    ("masked", np.ma.masked_array(np.zeros(SHAPE, np.float32)), TypeError, ""),
]
bad_outputs = pytest.mark.parametrize(
    ("out", "error", "pattern"),
    [row[1:] for row in BAD_OUTPUTS],
    ids=[row[0] for row in BAD_OUTPUTS],
)


@bad_outputs
def test_bad_output_of_a_gradient(out: Any, error: Any, pattern: str) -> None:
    logits, targets = zeros(np.float32), zeros(np.uint8)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: logitloss.bce_with_logits_grad(logits, targets, out=out),
        lambda: logitloss.bce_with_logits_value_and_grad(logits, targets, out=out),
        lambda: logitloss.bce_with_logits_value_and_grad(logits, targets, out=(None, out)),
        lambda: logitloss.bce_with_logits_grad_hess(logits, targets, out=(out, None)),
        lambda: logitloss.bce_with_logits_grad_hess(logits, targets, out=(None, out)),
        lambda: logitloss.bce_with_logits(logits, targets, reduction="none", out=out),
    )
    for refused in calls:
        assert missing(("out", pattern), message_of(error, refused)) == []


@pytest.mark.parametrize("out", [np.zeros((1,)), np.zeros((), np.float32), np.zeros(3), 0.0, [0.0]])
def test_bad_output_of_a_full_reduction(out: Any) -> None:
    with pytest.raises(EITHER, match="out"):
        logitloss.bce_with_logits(zeros(np.float32), zeros(np.uint8), out=out)
    assert not np.any(out)


@pytest.mark.parametrize("out", [np.zeros(4), np.zeros(3, np.float32), np.zeros((1, 3)), 0.0])
def test_bad_output_of_a_reduction_over_an_axis(out: Any) -> None:
    with pytest.raises(EITHER, match="out"):
        logitloss.bce_with_logits(zeros(np.float32), zeros(np.uint8), axis=0, out=out)
    assert not np.any(out)


def test_outputs_of_grad_hess_are_a_pair() -> None:
    array = np.full(SHAPE, 9, np.float32)
    wrong: tuple[Any, ...] = (array, (array,), (array, None, None), [array, None, None])
    for out in wrong:
        with pytest.raises(EITHER, match="out"):
            logitloss.bce_with_logits_grad_hess(zeros(np.float32), zeros(np.uint8), out=out)
    assert np.all(array == 9)


def test_one_bad_output_of_two_leaves_both_alone() -> None:
    logits, targets = zeros(np.float32), zeros(np.uint8)
    good, bad = np.full(SHAPE, 9, np.float32), np.full((3, 4), 9, np.float32)
    for out in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match="out"):
            logitloss.bce_with_logits_grad_hess(logits, targets, out=out)
        assert np.all(good == 9)
        assert np.all(bad == 9)


def test_in_place_over_read_only_logits() -> None:
    logits = frozen()
    with pytest.raises(ValueError, match="out"):
        logitloss.bce_with_logits_grad(logits, zeros(np.uint8), out=logits)
    assert np.all(logits == 9)


BAD_TARGETS = [
    (np.uint8, 7, "7"),
    (np.uint8, 255, "255"),
    (np.int8, -1, "-1"),
    (np.int16, -300, "-300"),
    (np.uint16, 65535, "65535"),
    (np.int32, 2, "2"),
    (np.uint32, 2**32 - 1, str(2**32 - 1)),
    (np.int64, -(2**40), str(-(2**40))),
    (np.uint64, 2**63, str(2**63)),
    (np.float16, 1.5, r"1\.5"),
    (ml_dtypes.bfloat16, -0.25, r"-0\.25"),
    (np.float32, 2.0, "2"),
    (np.float32, math.inf, "inf"),
    (np.float32, math.nan, "nan"),
    (np.float64, -math.inf, "-inf"),
    (np.float64, math.nan, "nan"),
    (np.float64, 1.0 + 2.0**-52, r"1\.0000000000000002"),
    (np.float64, -5e-324, "-5e-324|-4.94"),
]


@pytest.mark.parametrize(("dtype", "value", "pattern"), BAD_TARGETS)
@functions
def test_a_bad_target_is_named(name: str, dtype: Any, value: Any, pattern: str) -> None:
    targets = zeros(dtype)
    targets[1, 2] = targets[3, 0] = value
    with pytest.raises(ValueError, match="targets") as caught:
        FUNCTIONS[name](zeros(np.float32), targets)
    message = str(caught.value)
    assert re.search(r"\b1, 2\b", message)
    assert re.search(pattern, message, re.IGNORECASE)
    assert re.search(r"\[0, 1\]", message)


@functions
def test_a_bad_target_of_a_vector_and_of_a_scalar(name: str) -> None:
    with pytest.raises(ValueError, match=r"\b2\b") as caught:
        FUNCTIONS[name]([0.0] * 4, [0, 1, 7, 9])
    assert re.search(r"\b7\b", str(caught.value))
    with pytest.raises(ValueError, match=r"\b7\b"):
        FUNCTIONS[name](0.0, 7)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("num_threads", [1, 2, 3, 8])
@functions
def test_the_first_bad_target_of_many(name: str, num_threads: int, reduction: Reduction) -> None:
    targets = hard_targets(np.uint8, 400_000)
    targets[[350_001, 123_457, 123_458, 399_999]] = [2, 3, 4, 5]
    logitloss.set_num_threads(num_threads)
    with pytest.raises(ValueError, match="123457") as caught:
        FUNCTIONS[name](np.zeros(400_000, np.float32), targets, reduction=reduction)
    assert re.search(r"\b3\b", str(caught.value))


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("layout", WRITEABLE_LAYOUTS)
def test_the_first_bad_target_of_every_layout(layout: str, axis: Any, num_threads: int) -> None:
    """First means first in C order of the indices, not first in memory."""
    targets = hard_targets(np.float32, 700 * 500).reshape(700, 500)
    targets[600, 3], targets[21, 499], targets[699, 0], targets[22, 1] = 2, 3, 4, 5
    logits = lay_out(np.zeros((700, 500), np.float32), layout)
    logitloss.set_num_threads(num_threads)
    for array in (lay_out(targets, layout), lay_out(targets.T, layout).T):
        with pytest.raises(ValueError, match=r"21, 499") as caught:
            logitloss.bce_with_logits(logits, array, axis=axis)
        assert re.search(r"\b3\b", str(caught.value))


@functions
def test_a_bad_target_that_is_hidden_is_none(name: str) -> None:
    targets = np.array([0.0, 7.0, 1.0, 9.0])
    where = np.array([True, False, True, True])
    with pytest.raises(ValueError, match=r"\b9\b"):
        FUNCTIONS[name](np.zeros(4), targets, where=where)
    FUNCTIONS[name](np.zeros(4), targets, where=where, ignore_index=9)
    with pytest.raises(ValueError, match=r"\b7\b"):
        FUNCTIONS[name](np.zeros(4), targets, ignore_index=9)


@functions
def test_a_nan_target_is_bad_unless_it_is_the_ignore_index(name: str) -> None:
    targets = np.array([0.0, math.nan, 1.0])
    for missing in (None, -1, 0.5):
        with pytest.raises(ValueError, match=r"(?i)nan"):
            FUNCTIONS[name](np.zeros(3), targets, ignore_index=missing)
    FUNCTIONS[name](np.zeros(3), targets, ignore_index=math.nan)
    targets[0] = 7
    with pytest.raises(ValueError, match=r"\b7\b"):
        FUNCTIONS[name](np.zeros(3), targets, ignore_index=math.nan)


@functions
def test_a_zero_weight_does_not_excuse_a_bad_target(name: str) -> None:
    with pytest.raises(ValueError, match="targets"):
        FUNCTIONS[name](np.zeros(3), [0, 7, 1], weight=[1, 0, 1])


@pytest.mark.parametrize("target_dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("layout", WRITEABLE_LAYOUTS)
def test_a_bad_target_leaves_logits_alone_in_place(
    layout: str, num_threads: int, target_dtype: Any
) -> None:
    rng = np.random.default_rng(31)
    numbers = rng.standard_normal((700, 500)).astype(np.float32)
    targets = hard_targets(target_dtype, numbers.size).reshape(numbers.shape)
    targets[-1, -1] = 7
    logits = lay_out(numbers, layout)
    logitloss.set_num_threads(num_threads)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: logitloss.bce_with_logits_grad(logits, targets, out=logits),
        lambda: logitloss.bce_with_logits_value_and_grad(logits, targets, out=logits),
        lambda: logitloss.bce_with_logits_grad_hess(logits, targets, out=(logits, None)),
        lambda: logitloss.bce_with_logits_grad_hess(logits, targets, out=(None, logits)),
    )
    for refused in calls:
        assert "699, 499" in message_of(ValueError, refused)
        assert same_bits(logits, numbers)


def test_the_kinds_of_bad_input_are_at_least_thirty() -> None:
    labels = {bad.label for bad in BAD_TYPES + BAD_VALUES + GRAD_OUTPUTS}
    assert len(labels) == len(BAD_TYPES + BAD_VALUES + GRAD_OUTPUTS)
    assert len(labels) + len(BAD_OUTPUTS) + len(BAD_TARGETS) >= 30
    assert sum(is_float(np.dtype(row[0])) for row in BAD_TARGETS) >= 5
