"""In which order messages come that go by several sockets: by IPv4, IPv6 and multicast of both."""

import os
import time

import pytest

from tests.support.network import Host, metric, mounted, read_all, served, settle
from tests.support.processes import is_root

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")


def test_to_one_and_to_all_each_in_order_and_once(hosts: list[Host]) -> None:
    """What is for all goes by IPv4 and IPv6 as well, and the copy is dropped."""
    one, every = [], []
    with (
        mounted(hosts[:2], "") as (ada, bob),
        served(bob, "one") as slot,
        served(bob, "every") as group,
    ):
        to_one = os.open(ada.path / "@bob/one", os.O_WRONLY)
        to_all = os.open(ada.path / "@corp/every", os.O_WRONLY)
        began, replayed = time.monotonic(), metric(bob, "dropped", reason="replayed")
        for number in range(800):
            for part in range(10):
                os.write(to_one, b"%d" % (number * 10 + part))
            os.write(to_all, b"%d" % number)
            one += read_all(slot)
            every += read_all(group)
            time.sleep(max(0.0, began + number / 400 - time.monotonic()))
            while number * 10 - len(one) > 1000:  # more than that no buffer need hold
                one += settle(slot, 1, quiet=0)
        os.close(to_one)
        os.close(to_all)
        one += settle(slot, 8000 - len(one))
        every += settle(group, 800 - len(every))
        copies = metric(bob, "dropped", reason="replayed") - replayed
    assert one == [b"%d" % number for number in range(8000)]
    assert every == [b"%d" % number for number in range(800)]
    assert copies >= 800
