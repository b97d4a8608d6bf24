"""Other hosts: domains, their protocol, and the transports that carry it.

A message is sealed once; each transport moves opaque bytes. `trust` is the protocol and pure: it
has no socket, event loop or clock. `netbios` is another kind of network, that of Windows and Samba.
"""
