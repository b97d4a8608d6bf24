"""A wire, a domain, and members of it."""

import pytest

from tests.support.trust import Corp, Node, Wire


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture(scope="module")
def corp() -> Corp:
    return Corp()


@pytest.fixture
def nodes(wire: Wire, corp: Corp) -> list[Node]:
    """Three who know each other."""
    nodes = [wire.node(corp.admit(name), n) for n, name in enumerate(("ann", "bob", "cid"), 1)]
    wire.run(5)
    return nodes
