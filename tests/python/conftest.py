"""Settings that every test shares: hypothesis profiles and a thread setting that is put back.

HYPOTHESIS_PROFILE chooses a profile. "ci", the default, makes the same calls in every run;
"thorough" makes many more and new ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import logitloss

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "ci",
    max_examples=600,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "thorough", max_examples=20000, deadline=None, suppress_health_check=_SLOW_IS_FINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def restored_thread_setting() -> Iterator[None]:
    """Put the package's thread setting back after each test, whatever the test did to it."""
    before = logitloss.get_num_threads()
    yield
    logitloss.set_num_threads(before)
