"""Binary cross-entropy on logits, its gradient and its hessian, over NumPy arrays.

The functions `bce_with_logits`, `bce_with_logits_grad`, `bce_with_logits_value_and_grad` and
`bce_with_logits_grad_hess` compute them in one pass; `BCEWithLogitsLoss` keeps the options of
such calls. `config` and `show_config` say what the compiled core is and uses.
"""

from logitloss._functions import (
    bce_with_logits,
    bce_with_logits_grad,
    bce_with_logits_grad_hess,
    bce_with_logits_value_and_grad,
)
from logitloss._runtime import (
    __version__,
    config,
    get_cmake_dir,
    get_include,
    get_num_threads,
    set_num_threads,
    show_config,
)
from logitloss.losses import BCEWithLogitsLoss

__all__ = [
    "BCEWithLogitsLoss",
    "__version__",
    "bce_with_logits",
    "bce_with_logits_grad",
    "bce_with_logits_grad_hess",
    "bce_with_logits_value_and_grad",
    "config",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "set_num_threads",
    "show_config",
]
