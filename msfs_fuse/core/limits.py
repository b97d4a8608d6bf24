"""What a mount puts up with."""

from dataclasses import dataclass

# Longest name of a slot or directory, in bytes: what Linux file systems allow.
NAME_MAX = 255

# The kernel passes up to 1 MiB in one request (max_write). A message has to be shorter, so that
# even the first piece of a write that is over the limit is itself over the limit.
MESSAGE_SIZE_CEILING = 1024 * 1024 - 4096


@dataclass(frozen=True)
class Limits:
    """Upper bounds, all inclusive.

    Attributes:
        max_message_size: bytes in one message, and the ceiling of what a slot may set for itself.
        max_messages: messages queued in one slot.
        max_slot_bytes: bytes queued in one slot.
        max_total_messages: messages queued in the whole mount.
        max_bytes: bytes queued in the whole mount.
        max_slots_per_user: slots that one user may keep alive, and directories that he may own,
            together; root is exempt.
        max_waiting: reads that may wait at the same time in the whole mount.
        max_handles: what may be open in the whole mount: slots, directories, names on other hosts,
            and control files, which count for one and one more for each KiB of their text.
        max_user_share: percent of max_bytes, max_total_messages, max_waiting and max_handles that
            one user may have. Root may have all, and the last thirty-second part is for root alone.
    """

    max_message_size: int = 64 * 1024
    max_messages: int = 65_536
    max_slot_bytes: int = 16 * 1024 * 1024
    max_total_messages: int = 2_000_000
    max_bytes: int = 256 * 1024 * 1024
    max_slots_per_user: int = 4096
    max_waiting: int = 65_536
    max_handles: int = 262_144
    max_user_share: int = 25

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.max_user_share > 100:
            raise ValueError(f"max_user_share is a percentage, not {self.max_user_share}")
        if self.max_message_size > MESSAGE_SIZE_CEILING:
            raise ValueError(f"max_message_size must be at most {MESSAGE_SIZE_CEILING} bytes")
