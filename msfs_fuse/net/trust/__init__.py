"""Who speaks: the domain's protocol, pure. No socket, no clock and no event loop is in here.

Each member proves its host by a certificate and a key of its own. Freshness is asked for, not
taken from clocks, and a way to a host is believed once the host has answered from there.
"""
