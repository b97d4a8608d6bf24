"""Tests. Helpers that assert for them get the same explanations as the tests themselves."""

import pytest

pytest.register_assert_rewrite("tests.core_comparison", "tests.core_support")
