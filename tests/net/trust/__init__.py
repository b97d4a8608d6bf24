"""The domain's protocol, without sockets and clocks."""
