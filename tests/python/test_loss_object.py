"""BCEWithLogitsLoss: the functions' results, and the manners of a value."""

from __future__ import annotations

import contextlib
import copy
import fractions
import math
import pickle
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import logitloss
from arrays import same_bits
from logitloss import BCEWithLogitsLoss
from oracle import Reduction

SHAPE = (6, 5)

# Makers and not objects, so that two equal objects can be made from one entry.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scalars": {"weight": 0.5, "pos_weight": 3, "label_smoothing": 0.1},
    "sum": {"reduction": "sum", "num_threads": 2},
    "none": {"reduction": "none", "validate": False},
    "axis": {"reduction": "weighted_mean", "axis": (0, -1)},
    "one axis": {"axis": 1},
    "integer ignore_index": {"ignore_index": -1},
    "nan ignore_index": {"ignore_index": math.nan},
    "float64 weight": {"weight": np.array([0.1, 0.2, 1.0, 2.0, 3.0])},
    "float32 pos_weight": {
        "pos_weight": np.array([[0.1], [2.0], [3.0], [4.0], [5.0], [6.0]], "f4")
    },
    "integer weight": {"weight": np.arange(1, 6)},
    "infinite weight": {"pos_weight": np.array([math.inf, 1.0, 1.0, 1.0, 1.0])},
    "list weight": {"weight": [1.0, 2.0, 3.0, 4.0, 6.0]},
    "numpy scalars": {"weight": np.float32(0.5), "label_smoothing": np.float64(0.25)},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def inputs(dtype: Any = np.float32) -> tuple[Any, Any]:
    """Return logits and soft targets."""
    rng = np.random.default_rng(41)
    return (4 * rng.standard_normal(SHAPE)).astype(dtype), rng.random(SHAPE)


def pairs(loss: BCEWithLogitsLoss, arguments: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return the results of each method beside those of its function, as flat lists of arrays."""
    logits, targets = inputs()
    methods: tuple[Callable[..., Any], ...] = (
        loss,
        loss.grad,
        loss.value_and_grad,
        loss.grad_hess,
    )
    named: tuple[Callable[..., Any], ...] = (
        logitloss.bce_with_logits,
        logitloss.bce_with_logits_grad,
        logitloss.bce_with_logits_value_and_grad,
        logitloss.bce_with_logits_grad_hess,
    )
    for method, function in zip(methods, named, strict=True):
        one = method(logits, targets, **arguments)
        two = function(logits, targets, **arguments, **options)
        yield from zip(
            one if isinstance(one, tuple) else (one,),
            two if isinstance(two, tuple) else (two,),
            strict=True,
        )


@every_option
def test_the_methods_are_the_functions(options: dict[str, Any]) -> None:
    for one, two in pairs(BCEWithLogitsLoss(**options), {}, options):
        assert type(one) is type(two)
        assert same_bits(one, two)


def test_where_of_a_call() -> None:
    where = np.random.default_rng(42).random(SHAPE) < 0.5
    for one, two in pairs(BCEWithLogitsLoss(), {"where": where}, {}):
        assert same_bits(one, two)


def test_weight_of_a_call() -> None:
    weight = np.random.default_rng(43).random(SHAPE)
    for one, two in pairs(BCEWithLogitsLoss(), {"weight": weight}, {}):
        assert same_bits(one, two)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize(
    ("own", "given"),
    [
        (0.5, 4.0),
        (np.array([0.5, 1, 2, 4, 8]), 0.25),
        (2.0, np.array([[1.0], [2.0], [4.0], [0.5], [0.25], [8.0]])),
        (np.array([0.5, 1, 2, 4, 8]), np.array([[1.0], [2.0], [4.0], [0.5], [0.25], [8.0]])),
        (np.full(SHAPE, 2.0, np.float32), np.full(SHAPE, 4, np.uint8)),
    ],
    ids=["scalars", "vector and scalar", "scalar and column", "vector and column", "full"],
)
def test_the_weights_of_constructor_and_call_multiply(
    own: Any, given: Any, reduction: Reduction
) -> None:
    """Powers of two multiply exactly, so not a bit may differ."""
    logits, targets = inputs()
    loss = BCEWithLogitsLoss(weight=own, reduction=reduction)
    product = np.multiply(own, given, dtype=np.float64)
    options: dict[str, Any] = {"weight": product, "reduction": reduction}
    value, grad = loss.value_and_grad(logits, targets, weight=given)
    expected = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
    assert same_bits(value, expected[0])
    assert same_bits(grad, expected[1])
    assert same_bits(loss(logits, targets, weight=given), expected[0])
    hess = loss.grad_hess(logits, targets, weight=given)[1]
    assert same_bits(hess, logitloss.bce_with_logits_grad_hess(logits, targets, **options)[1])


@pytest.mark.parametrize(
    ("own", "given", "product"),
    [
        (np.array([16], np.uint8), np.array([16], np.uint8), 256.0),
        (np.int8(100), np.int8(100), 1e4),
        (300, np.array([200], np.uint8), 6e4),
        (np.array([300], np.float16), np.array([300], np.float16), 9e4),
        (np.array([1e30], np.float32), np.array([1e30], np.float32), float(np.float32(1e30)) ** 2),
        (ml_dtypes.bfloat16(257), 257, 256.0 * 257),
        (np.array([True]), [True], 1.0),
    ],
    ids=["uint8", "int8", "int and uint8", "float16", "float32", "bfloat16", "bool"],
)
def test_the_product_of_two_weights_is_that_of_their_values(
    own: Any, given: Any, product: float
) -> None:
    logits, targets = inputs(np.float64)
    value = BCEWithLogitsLoss(weight=own)(logits, targets, weight=given)
    assert value == logitloss.bce_with_logits(logits, targets, weight=product)


@pytest.mark.parametrize(
    "weight",
    ["heavy", 1j, np.ones(5, np.complex64), np.ones(5, ">f8"), np.ones(5, object)],
    ids=str,
)
def test_the_weight_of_a_call_has_the_rules_of_every_weight(weight: Any) -> None:
    logits, targets = inputs()
    for loss in (BCEWithLogitsLoss(), BCEWithLogitsLoss(weight=2.0)):
        with pytest.raises(TypeError, match=r"^weight must have a bool, integer"):
            loss(logits, targets, weight=weight)
    masked = np.ma.masked_array(np.ones(5), mask=False)
    with pytest.raises(TypeError, match="weight is a masked array"):
        BCEWithLogitsLoss(weight=2.0)(logits, targets, weight=masked)
    with pytest.raises(ValueError, match="weight must fit"):
        BCEWithLogitsLoss(weight=2.0)(logits, targets, weight=10**400)


def test_a_bad_product_of_an_element_that_does_not_exist_is_no_matter() -> None:
    loss = BCEWithLogitsLoss(weight=[1.0, 0.0, 1e300])
    where = [True, False, False]
    value = loss([0.0] * 3, [0] * 3, weight=[1.0, math.inf, 1e300], where=where)
    assert value == math.log(2)


def test_a_weight_of_a_call_must_broadcast_too() -> None:
    logits, targets = inputs()
    loss = BCEWithLogitsLoss(weight=np.ones(5))
    with pytest.raises(ValueError, match="weight"):
        loss(logits, targets, weight=np.ones(4))
    with pytest.raises(ValueError, match="weight"):
        loss(logits, targets, weight=np.ones((2, 6, 5)))


def test_grad_output() -> None:
    logits, targets = inputs()
    array = np.random.default_rng(44).random(5)
    loss = BCEWithLogitsLoss(axis=0)
    expected = logitloss.bce_with_logits_grad(logits, targets, axis=0, grad_output=array)
    assert same_bits(loss.grad(logits, targets, grad_output=array), expected)
    value, grad = loss.value_and_grad(logits, targets, grad_output=array)
    assert same_bits(grad, expected)
    assert same_bits(value, loss(logits, targets))


def test_outputs() -> None:
    logits, targets = inputs()
    loss = BCEWithLogitsLoss()
    value, first, second = np.zeros(()), np.zeros_like(logits), np.zeros_like(logits)
    assert loss(logits, targets, out=value) is value
    assert float(value) == loss(logits, targets)
    assert loss.grad(logits, targets, out=first) is first
    assert same_bits(first, loss.grad(logits, targets))
    assert loss.value_and_grad(logits, targets, out=(value, first))[0] is value
    assert loss.grad_hess(logits, targets, out=(first, second)) == (first, second)
    assert same_bits(second, loss.grad_hess(logits, targets)[1])
    elementwise = BCEWithLogitsLoss(reduction="none")
    assert elementwise(logits, targets, out=first) is first
    assert same_bits(first, elementwise(logits, targets))


def test_in_place() -> None:
    logits, targets = inputs()
    loss = BCEWithLogitsLoss(pos_weight=2.0)
    expected = loss.grad(logits, targets)
    loss.grad(logits, targets, out=logits)
    assert same_bits(logits, expected)


def test_lists_and_scalars() -> None:
    assert BCEWithLogitsLoss()(0.0, 1) == math.log(2)
    assert BCEWithLogitsLoss().grad([0.0, 0.0], [0, 1]).tolist() == [0.25, -0.25]


@every_option
def test_attributes_cannot_be_changed(options: dict[str, Any]) -> None:
    loss = BCEWithLogitsLoss(**options)
    before = repr(loss)
    for name in ("weight", "reduction", "label_smoothing", "axis", "something_new"):
        with pytest.raises(AttributeError):
            setattr(loss, name, 1.0)
    with pytest.raises(AttributeError):
        delattr(loss, "weight")
    assert repr(loss) == before


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_the_caller_cannot_change_an_array_afterwards(name: str) -> None:
    logits, targets = inputs()
    array = np.full(5, 2.0)
    options: dict[str, Any] = {name: array}
    loss = BCEWithLogitsLoss(**options)
    before, text, number = loss(logits, targets), repr(loss), hash(loss)
    array[:] = 50
    assert loss(logits, targets) == before
    assert repr(loss) == text
    assert hash(loss) == number


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_an_array_that_is_read_back_changes_nothing(name: str) -> None:
    logits, targets = inputs()
    options: dict[str, Any] = {name: np.full(5, 2.0)}
    loss = BCEWithLogitsLoss(**options)
    before, text = loss(logits, targets), repr(loss)
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        getattr(loss, name)[0] = 50
    assert loss(logits, targets) == before
    assert repr(loss) == text


@every_option
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(options: dict[str, Any], protocol: int) -> None:
    loss = BCEWithLogitsLoss(**options)
    again = pickle.loads(pickle.dumps(loss, protocol=protocol))
    assert type(again) is BCEWithLogitsLoss
    assert again == loss
    logits, targets = inputs()
    assert same_bits(again.grad(logits, targets), loss.grad(logits, targets))


@every_option
def test_copy(options: dict[str, Any]) -> None:
    loss = BCEWithLogitsLoss(**options)
    for again in (copy.copy(loss), copy.deepcopy(loss)):
        assert again == loss
        assert hash(again) == hash(loss)
        assert repr(again) == repr(loss)


@every_option
def test_equal_objects_have_equal_hashes(options: dict[str, Any]) -> None:
    one, two = (BCEWithLogitsLoss(**copy.deepcopy(options)) for _ in range(2))
    assert (one == two) is True
    assert (one != two) is False
    assert hash(one) == hash(two)
    assert len({one, two}) == 1


def test_different_objects_differ() -> None:
    losses = [BCEWithLogitsLoss(**options) for options in OPTIONS.values()]
    for i, one in enumerate(losses):
        for two in losses[:i]:
            assert (one == two) is False
            assert (one != two) is True
    assert BCEWithLogitsLoss(weight=np.ones(3)) != BCEWithLogitsLoss(weight=np.ones(4))
    assert BCEWithLogitsLoss(weight=np.ones(1)) != BCEWithLogitsLoss(weight=np.ones((1, 1)))
    assert BCEWithLogitsLoss(weight=2.0) != BCEWithLogitsLoss(pos_weight=2.0)


def test_an_object_differs_from_everything_else() -> None:
    loss = BCEWithLogitsLoss()
    assert (loss == "mean") is False
    # The operator itself is under test; `is not` would not call it.
    assert (loss != None) is True  # noqa: E711
    assert loss not in [1, (), np.float64(0)]


@every_option
def test_the_repr_recreates_the_object(options: dict[str, Any]) -> None:
    """Arrays are written as lists and NaN as a call, so these two names are all that it takes."""
    loss = BCEWithLogitsLoss(**options)
    names = {"__builtins__": {}, "BCEWithLogitsLoss": BCEWithLogitsLoss, "float": float}
    again = eval(repr(loss), names)
    assert again == loss
    assert hash(again) == hash(loss)
    logits, targets = inputs()
    assert same_bits(again.grad(logits, targets), loss.grad(logits, targets))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"axis": np.int64(-1)}, "axis=-1"),
        ({"axis": (np.int8(0), 1)}, "axis=(0, 1)"),
        ({"label_smoothing": fractions.Fraction(1, 4)}, "label_smoothing=0.25"),
        ({"label_smoothing": np.float32(0.5)}, "label_smoothing=0.5"),
        ({"ignore_index": np.int64(-1)}, "ignore_index=-1"),
        ({"ignore_index": np.array(255)}, "ignore_index=255"),
        ({"ignore_index": np.float32(0.5)}, "ignore_index=0.5"),
        ({"ignore_index": fractions.Fraction(1, 2)}, "ignore_index=0.5"),
        ({"num_threads": np.uint8(3)}, "num_threads=3"),
        ({"validate": np.False_}, "validate=False"),
        ({"reduction": np.str_("sum")}, "reduction='sum'"),
        ({"weight": np.float32(0.5)}, "weight=0.5"),
        ({"weight": ml_dtypes.bfloat16(0.5)}, "weight=0.5"),
        ({"weight": 2}, "weight=2.0"),
    ],
    ids=str,
)
def test_the_options_are_kept_as_pythons_own(options: dict[str, Any], text: str) -> None:
    loss = BCEWithLogitsLoss(**options)
    assert repr(loss) == f"BCEWithLogitsLoss({text})"
    again = eval(repr(loss))
    assert again == loss
    assert hash(again) == hash(loss)
    logits, targets = inputs()
    assert same_bits(again.grad(logits, targets), loss.grad(logits, targets))


@pytest.mark.parametrize("axis", [-64, 63, (63, -64), (32, -32), tuple(range(64)), ()], ids=str)
def test_every_axis_that_an_array_may_have(axis: Any) -> None:
    """The array itself cannot be made by every NumPy, so the object does not make one."""
    assert f"axis={axis}" in repr(BCEWithLogitsLoss(axis=axis))


@pytest.mark.parametrize("axis", [64, -65, (0, 0), (0, -64), (63, -1), 10**30], ids=str)
def test_an_axis_that_no_array_has(axis: Any) -> None:
    with pytest.raises(ValueError, match="axis"):
        BCEWithLogitsLoss(axis=axis)


@pytest.mark.parametrize("axis", [1.0, "0", [0], (0, 1.0), True, (False,), np.True_], ids=str)
def test_an_axis_of_a_wrong_type(axis: Any) -> None:
    with pytest.raises(TypeError, match="axis"):
        BCEWithLogitsLoss(axis=axis)


def test_a_second_init_changes_nothing() -> None:
    loss = BCEWithLogitsLoss(weight=2.0)
    before = repr(loss)
    again: Any = loss
    refusals: tuple[Callable[[], Any], ...] = (
        lambda: again.__init__(weight=3.0),
        lambda: again.__setstate__((None, {"_options": {}})),
        lambda: again._options.update(weight=3.0),
        lambda: again._options.__setitem__("weight", 3.0),
    )
    for refused in refusals:
        with pytest.raises(AttributeError):
            refused()
        assert repr(loss) == before


class Weighted(BCEWithLogitsLoss):
    """A subclass that is made in its own way and that has attributes of its own."""

    __slots__ = ("factor",)
    factor: float

    def __init__(self, factor: float) -> None:
        super().__init__(weight=[factor, factor], ignore_index=-1)
        object.__setattr__(self, "factor", factor)


class Named(Weighted):
    """A subclass of that, with a dictionary for attributes."""

    def __init__(self, factor: float, name: str) -> None:
        super().__init__(factor)
        object.__setattr__(self, "name", name)


@pytest.mark.parametrize("loss", [Weighted(2.0), Named(3.0, "three")], ids=repr)
def test_a_subclass_is_pickled_and_copied_as_it_is(loss: Any) -> None:
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    pickled = [pickle.loads(pickle.dumps(loss, protocol)) for protocol in protocols]
    for again in (*pickled, copy.copy(loss), copy.deepcopy(loss)):
        assert type(again) is type(loss)
        assert again == loss
        assert again.factor == loss.factor
        assert getattr(again, "name", "") == getattr(loss, "name", "")
        assert not again._options["weight"].flags.writeable
        assert again([0.0, 1.0], [1, -1]) == loss([0.0, 1.0], [1, -1])


def test_the_repr_is_short_where_nothing_was_chosen() -> None:
    assert repr(BCEWithLogitsLoss()).startswith("BCEWithLogitsLoss(")
    assert "pos_weight=3.0" in repr(BCEWithLogitsLoss(pos_weight=3.0))


def test_options_are_keywords_only() -> None:
    maker: Any = BCEWithLogitsLoss
    with pytest.raises(TypeError, match="positional"):
        maker(2.0)


@pytest.mark.parametrize("name", ["where", "out", "grad_output", "size_average"])
def test_unknown_options(name: str) -> None:
    options: dict[str, Any] = {name: None}
    with pytest.raises(TypeError, match=name):
        BCEWithLogitsLoss(**options)


@pytest.mark.parametrize("name", ["pos_weight", "reduction", "label_smoothing", "axis", "validate"])
def test_options_of_the_constructor_are_not_options_of_a_call(name: str) -> None:
    logits, targets = inputs()
    with pytest.raises(TypeError, match=name):
        BCEWithLogitsLoss()(logits, targets, **{name: None})


BAD_OPTIONS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "smoothing 1": ({"label_smoothing": 1.0}, ValueError),
    "smoothing str": ({"label_smoothing": "0.1"}, TypeError),
    "reduction": ({"reduction": "avg"}, ValueError),
    "axis of none": ({"axis": 0, "reduction": "none"}, ValueError),
    "axis 2": ({"axis": 2}, ValueError),
    "axis float": ({"axis": 0.5}, TypeError),
    "no threads": ({"num_threads": 0}, ValueError),
    "threads bool": ({"num_threads": True}, TypeError),
    "weight str": ({"weight": "heavy"}, TypeError),
    "weight masked": ({"weight": np.ma.masked_array(np.ones(5), mask=False)}, TypeError),
    "pos_weight complex": ({"pos_weight": np.ones(5, np.complex128)}, TypeError),
    "pos_weight shape": ({"pos_weight": np.ones(4)}, ValueError),
}


@pytest.mark.parametrize(("options", "error"), BAD_OPTIONS.values(), ids=list(BAD_OPTIONS))
def test_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    """Whether the constructor or the first call finds it, the exception names the option."""
    logits, targets = inputs()
    with pytest.raises(error, match=rf"\b{next(iter(options))}\b"):
        BCEWithLogitsLoss(**options)(logits, targets)


def test_bad_targets_are_found() -> None:
    with pytest.raises(ValueError, match=r"targets.*\b7\b"):
        BCEWithLogitsLoss()([0.0, 0.0], [1, 7])
    BCEWithLogitsLoss(validate=False)([0.0, 0.0], [1, 7])
    BCEWithLogitsLoss(ignore_index=7)([0.0, 0.0], [1, 7])


@every_option
def test_replace(options: dict[str, Any]) -> None:
    loss = BCEWithLogitsLoss(**options)
    changes: dict[str, Any] = {"label_smoothing": 0.25, "validate": False}
    assert loss.__replace__(**changes) == BCEWithLogitsLoss(**{**options, **changes})
    assert loss == BCEWithLogitsLoss(**options)


def test_replace_refuses_what_the_constructor_does() -> None:
    loss = BCEWithLogitsLoss()
    with pytest.raises(TypeError, match="has no option 'gamma'; it has weight, pos_weight"):
        loss.__replace__(gamma=2.0)
    with pytest.raises(ValueError, match="label_smoothing"):
        loss.__replace__(label_smoothing=2.0)
