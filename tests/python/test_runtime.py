"""Version, threads, configuration, environment variables, imports, signatures, documentation."""

from __future__ import annotations

import doctest
import importlib.metadata
import inspect
import pydoc
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import logitloss
from oracle import Array
from processes import failure_of_python, run_python

FUNCTIONS = (
    "bce_with_logits",
    "bce_with_logits_grad",
    "bce_with_logits_value_and_grad",
    "bce_with_logits_grad_hess",
)
RUNTIME = (
    "get_num_threads",
    "set_num_threads",
    "config",
    "show_config",
    "get_include",
    "get_cmake_dir",
)
PUBLIC = (*FUNCTIONS, "BCEWithLogitsLoss", *RUNTIME)
ISAS = ("baseline", "avx2", "avx512", "neon")

OPTIONS: dict[str, Any] = {
    "weight": None,
    "pos_weight": None,
    "label_smoothing": 0.0,
    "where": None,
    "ignore_index": None,
    "reduction": "mean",
    "axis": None,
    "validate": True,
    "num_threads": None,
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "bce_with_logits": {"out": None},
    "bce_with_logits_grad": {"grad_output": None, "out": None},
    "bce_with_logits_value_and_grad": {"grad_output": None, "out": None},
    "bce_with_logits_grad_hess": {"grad_output": None, "out": (None, None)},
}

# Prints one line for each instruction set in use: the largest errors and a digest of all bits.
RESULTS_OF_ONE_ISA = """
import hashlib
import logitloss, numpy as np, oracle
from arrays import LOGIT_DTYPES, hard_targets, spread_logits
digest, worst = hashlib.sha256(), 0.0
for dtype in LOGIT_DTYPES:
    x, y = spread_logits(dtype, 30011), hard_targets(np.uint8, 30011)
    exact = oracle.elements(x, y)
    loss = logitloss.bce_with_logits(x, y, reduction="none")
    grad, hess = logitloss.bce_with_logits_grad_hess(x, y, reduction="none")
    for result, wanted in ((loss, exact.loss), (grad, exact.grad), (hess, exact.hess)):
        digest.update(result.tobytes())
        worst = max(worst, oracle.worst(oracle.ulp_error(result, wanted, dtype)))
    for reduction in ("sum", "mean"):
        value, grad = logitloss.bce_with_logits_value_and_grad(
            x, y, reduction=reduction, weight=0.3, pos_weight=1.7, label_smoothing=0.1
        )
        digest.update(np.float64(value).tobytes() + grad.tobytes())
print(logitloss.config()["isa"], worst, digest.hexdigest())
"""

HEAVY_MODULES = (
    *("torch", "jax", "tensorflow", "keras", "cupy", "dask", "xgboost", "lightgbm", "catboost"),
    *("sklearn", "scipy", "pandas", "matplotlib", "tqdm", "hypothesis", "pytest", "mpmath"),
    *("numpy.testing", "numpy.f2py", "unittest"),
)


def test_version() -> None:
    assert logitloss.__version__ == importlib.metadata.version("logitloss")
    assert re.match(r"\d+\.\d+", logitloss.__version__)


def test_config() -> None:
    config = logitloss.config()
    assert isinstance(config, dict)
    wanted = {"version", "isa", "isas", "compiler", "openmp", "num_threads", "cuda"}
    assert wanted <= set(config)
    assert config["version"] == logitloss.__version__
    assert config["num_threads"] == logitloss.get_num_threads()
    assert set(config["isas"]) <= set(ISAS)
    assert config["isa"] in config["isas"]
    assert "baseline" in config["isas"]


def test_config_is_the_callers_own() -> None:
    logitloss.config()["isa"] = "spoilt"
    assert logitloss.config()["isa"] in ISAS


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    logitloss.show_config()
    printed = capsys.readouterr().out
    config = logitloss.config()
    assert logitloss.__version__ in printed
    for isa in config["isas"]:
        assert isa in printed


def test_set_num_threads() -> None:
    for threads in (1, 2, 3, np.int64(2)):
        logitloss.set_num_threads(threads)
        assert logitloss.get_num_threads() == threads
        assert logitloss.config()["num_threads"] == threads
        assert type(logitloss.get_num_threads()) is int


@pytest.mark.parametrize(
    ("threads", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (4097, ValueError),
        (np.True_, TypeError),
        (1.5, TypeError),
        (2.0, TypeError),
        ("2", TypeError),
        (True, TypeError),
        ([1], TypeError),
    ],
)
def test_bad_thread_counts(threads: Any, error: type[Exception]) -> None:
    before = logitloss.get_num_threads()
    with pytest.raises(error, match="int"):
        logitloss.set_num_threads(threads)
    assert logitloss.get_num_threads() == before


def test_the_limit_of_thread_counts_is_named() -> None:
    for threads in (0, 4097, 10**5000):
        with pytest.raises(ValueError, match="from 1 to 4096"):
            logitloss.set_num_threads(threads)
    logitloss.set_num_threads(4096)
    assert logitloss.get_num_threads() == 4096
    # The keyword is a cap, which may be as high as one likes.
    assert logitloss.bce_with_logits(0.0, 1, num_threads=10**5000) == np.log(2.0)


def test_paths_exist() -> None:
    include, cmake = Path(logitloss.get_include()), Path(logitloss.get_cmake_dir())
    assert isinstance(logitloss.get_include(), str)
    assert isinstance(logitloss.get_cmake_dir(), str)
    assert (include / "logitloss" / "logitloss.h").is_file()
    assert [path for path in cmake.glob("*.cmake") if "config" in path.name.lower()]


def test_types_are_declared() -> None:
    assert (Path(str(logitloss.__file__)).parent / "py.typed").is_file()


if TYPE_CHECKING:
    # The types of results, which mypy checks.
    from typing_extensions import assert_type

    def results_have_their_types(x: Array, y: Array, loss: logitloss.BCEWithLogitsLoss) -> None:
        value = logitloss.bce_with_logits
        assert_type(value(x, y), float)
        assert_type(value(x, y, reduction="weighted_mean", weight=2.0), float)
        assert_type(value(x, y, reduction="none", out=x), Array)
        assert_type(value(x, y, reduction="sum", axis=(0, 1)), Array)
        assert_type(value(x, y, out=x), float | Array)
        pair = logitloss.bce_with_logits_value_and_grad
        assert_type(pair(x, y, grad_output=x, out=x), tuple[float, Array])
        assert_type(pair(x, y, out=(None, x)), tuple[float, Array])
        assert_type(pair(x, y, reduction="none", out=(x, None)), tuple[Array, Array])
        assert_type(pair(x, y, axis=0), tuple[Array, Array])
        assert_type(pair(x, y, out=(x, None)), tuple[float | Array, Array])
        assert_type(logitloss.bce_with_logits_grad(x, y), Array)
        assert_type(logitloss.bce_with_logits_grad_hess(x, y), tuple[Array, Array])
        assert_type(loss(x, y), float | Array)
        assert_type(loss.value_and_grad(x, y), tuple[float | Array, Array])


def test_each_isa_is_exact_and_those_with_fma_agree() -> None:
    digests = {}
    for isa in logitloss.config()["isas"]:
        used, worst, digest = run_python(RESULTS_OF_ONE_ISA, LOGITLOSS_ISA=isa).split()
        assert used == isa
        assert float(worst) <= 4
        digests[isa] = digest
    assert len({digest for isa, digest in digests.items() if isa != "baseline"}) <= 1


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "1", "baseline,avx2", *ISAS])
def test_an_isa_that_is_not_available(isa: str) -> None:
    available = logitloss.config()["isas"]
    status, errors = failure_of_python("import logitloss", LOGITLOSS_ISA=isa)
    if isa in available:
        assert status == 0
    else:
        assert status != 0
        assert "ImportError" in errors
        assert "LOGITLOSS_ISA" in errors
        assert isa in errors
        assert all(valid in errors for valid in available)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_environment_sets_the_default_number_of_threads(threads: str) -> None:
    code = "import logitloss; print(logitloss.get_num_threads())"
    assert run_python(code, LOGITLOSS_NUM_THREADS=threads).strip() == threads


@pytest.mark.parametrize("threads", ["4097", "9" * 5000, "0" * 5000], ids=len)
def test_a_number_of_threads_in_the_environment_that_is_too_large(threads: str) -> None:
    status, errors = failure_of_python("import logitloss", LOGITLOSS_NUM_THREADS=threads)
    last = errors.strip().splitlines()[-1]
    assert status == 1
    assert last.startswith("ImportError: LOGITLOSS_NUM_THREADS=")
    assert "from 1 to 4096" in last
    assert len(last) < 200


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1.5", "2x"])
def test_a_bad_number_of_threads_in_the_environment_is_not_ignored_silently(threads: str) -> None:
    code = "import logitloss; assert logitloss.get_num_threads() >= 1"
    _, errors = failure_of_python(code, LOGITLOSS_NUM_THREADS=threads)
    assert "LOGITLOSS_NUM_THREADS" in errors
    assert threads in errors


def test_openmp_limits_the_default_number_of_threads() -> None:
    if not logitloss.config()["openmp"]:
        pytest.skip("this build has no OpenMP")
    code = """
import os
os.environ.pop("LOGITLOSS_NUM_THREADS", None)
import logitloss
print(logitloss.get_num_threads())
"""
    assert run_python(code, OMP_NUM_THREADS="1").strip() == "1"


def test_the_import_is_light() -> None:
    code = f"""
import sys, numpy
before = set(sys.modules)
import logitloss
new = set(sys.modules) - before
print([name for name in {HEAVY_MODULES} if name in new])
"""
    assert run_python(code).strip() == "[]"


def test_the_first_call_is_light_too() -> None:
    code = f"""
import sys, numpy
before = set(sys.modules)
import logitloss
logitloss.BCEWithLogitsLoss().value_and_grad(numpy.zeros(3), numpy.ones(3))
new = set(sys.modules) - before
print([name for name in {HEAVY_MODULES} if name in new])
"""
    assert run_python(code).strip() == "[]"


def test_numpy_is_all_that_it_needs() -> None:
    """bfloat16 comes from ml_dtypes, which only those who have such arrays have installed."""
    code = """
import sys
sys.modules["ml_dtypes"] = None
import logitloss, numpy as np
print(logitloss.bce_with_logits(np.zeros(3, np.float16), np.ones(3, bool)))
"""
    assert float(run_python(code)) == pytest.approx(np.log(2.0), rel=2.0**-10)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature(name: str) -> None:
    signature = inspect.signature(getattr(logitloss, name))
    parameters = list(signature.parameters.values())
    assert [parameter.name for parameter in parameters[:2]] == ["logits", "targets"]
    for parameter in parameters[:2]:
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert parameter.default is inspect.Parameter.empty
    for parameter in parameters[2:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    defaults = {parameter.name: parameter.default for parameter in parameters[2:]}
    assert defaults == OPTIONS | OUTPUTS[name]


def test_the_order_of_the_parameters() -> None:
    order = list(inspect.signature(logitloss.bce_with_logits).parameters)
    assert order == [
        *("logits", "targets", "weight", "pos_weight", "label_smoothing", "where"),
        *("ignore_index", "reduction", "axis", "out", "validate", "num_threads"),
    ]
    for name in FUNCTIONS:
        parameters = list(inspect.signature(getattr(logitloss, name)).parameters)
        assert [p for p in parameters if p in OPTIONS] == list(OPTIONS)
        assert [p for p in parameters if p in OUTPUTS[name]] == list(OUTPUTS[name])


def test_the_signature_of_the_loss_object() -> None:
    parameters = inspect.signature(logitloss.BCEWithLogitsLoss).parameters
    assert {name: p.default for name, p in parameters.items()} == {
        name: default for name, default in OPTIONS.items() if name != "where"
    }
    assert list(parameters) == [name for name in OPTIONS if name != "where"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())


@pytest.mark.parametrize("method", ["__call__", "grad", "value_and_grad", "grad_hess"])
def test_the_signatures_of_the_methods(method: str) -> None:
    parameters = inspect.signature(getattr(logitloss.BCEWithLogitsLoss(), method)).parameters
    assert list(parameters)[:2] == ["logits", "targets"]
    extra = set() if method == "__call__" else {"grad_output"}
    assert set(parameters) == {"logits", "targets", "weight", "where", "out"} | extra
    for parameter in list(parameters.values())[2:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_may_be_keywords(name: str) -> None:
    function = getattr(logitloss, name)
    assert repr(function(targets=[1.0], logits=[0.5])) == repr(function([0.5], [1.0]))


@pytest.mark.parametrize("name", [*FUNCTIONS, "BCEWithLogitsLoss"])
def test_help_shows_the_signature(name: str) -> None:
    text = pydoc.plain(pydoc.render_doc(getattr(logitloss, name)))
    heading = " ".join(text.split())
    assert re.search(rf"\b{name}\(", heading)
    options = dict(OPTIONS) | OUTPUTS.get(name, {})
    if name == "BCEWithLogitsLoss":
        del options["where"]
    for option, default in options.items():
        shown = rf"\b{option}(: [^=]+)? ?= ?{re.escape(repr(default))}"
        assert re.search(shown, heading), option


def public_names() -> list[str]:
    """Return every public name, those of the contract among them."""
    return sorted({*PUBLIC, *getattr(logitloss, "__all__", ())})


def documented(name: str) -> dict[str, str]:
    """Return the docstrings of a public name and of its public methods."""
    value = getattr(logitloss, name)
    members = vars(value).items() if inspect.isclass(value) else ()
    methods = {f"{name}.{key}": member for key, member in members if not key.startswith("_")}
    everything = {name: value} | methods
    return {key: item.__doc__ for key, item in everything.items() if callable(item)}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name: str) -> None:
    assert getattr(logitloss, name).__name__ == name
    for key, text in documented(name).items():
        assert text, key
        assert text.strip(), key


@pytest.mark.parametrize("name", public_names())
def test_the_examples_of_the_documentation(name: str) -> None:
    messages: list[str] = []
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    tried = 0
    for key, text in documented(name).items():
        names = {"logitloss": logitloss, "np": np}
        examples = parser.get_doctest(text, names, key, None, 0)
        tried += len(examples.examples)
        runner.run(examples, out=messages.append)
    assert runner.failures == 0, "".join(messages)
    assert tried > 0 or name not in (*FUNCTIONS, "BCEWithLogitsLoss")
