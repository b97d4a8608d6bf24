"""Mailslots as pure data: no event loop, no file system, no sockets, no clock.

Whoever drives it passes in the time (nanoseconds since the epoch), and gets back what to answer
to whom. `Mailslots` is the whole interface; see ARCHITECTURE.md for its invariants.
"""
