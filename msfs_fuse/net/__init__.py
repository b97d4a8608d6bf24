"""Other hosts: sealed datagrams, domains, and the transports that carry them.

A message is sealed once, with the key of its domain; each transport moves opaque bytes. What is
pure (datagram, keyring, replay, domain) has no socket, event loop or clock.
"""
