"""Tests. Helpers that assert for them get the same explanations as the tests themselves."""

import pytest

pytest.register_assert_rewrite("tests.support.core_comparison", "tests.support.core")
