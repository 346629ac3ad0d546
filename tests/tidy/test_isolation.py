"""The tests themselves keep to this machine."""

import sys

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.com"])
def test_no_test_reaches_another_machine(host):
    """A connection of the test process to any address but loopback is refused before it is made."""
    with pytest.raises(RuntimeError, match="loopback addresses only"):
        sys.audit("socket.connect", None, (host, 443))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_tests_reach_loopback(host):
    """A connection to this machine is let through."""
    sys.audit("socket.connect", None, (host, 443))
