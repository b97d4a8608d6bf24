"""What the core counts, each number with its help text."""

from dataclasses import dataclass

from msfs_fuse.core.metrics import counter


@dataclass
class Counts:
    """What has happened since the mount began."""

    slots_created: int = counter("Slots made.")
    messages_written: int = counter("Messages queued or handed to a waiting reader.")
    bytes_written: int = counter("Bytes of these messages.")
    messages_read: int = counter("Messages read to their end.")
    messages_unread: int = counter("Messages that died unread with their slot.")
    writes_too_long: int = counter("Writes refused for the size of the message.")
    writes_full: int = counter("Writes refused for a full slot or mount.")
    reads_interrupted: int = counter("Waiting reads ended by a signal.")
    reads_timed_out: int = counter("Reads that met the slot's read timeout.")
    reads_over_limit: int = counter("Reads refused because too many waited.")
