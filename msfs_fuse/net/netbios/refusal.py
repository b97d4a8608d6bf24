"""Why a datagram or a packet of the name service is dropped."""

from enum import StrEnum


class Reason(StrEnum):
    """The label of the metric."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    KIND = "kind"
    FRAGMENT = "fragment"
    LENGTH = "length"
    NAME = "bad_name"
    SCOPE = "scope"
    NOT_A_MAILSLOT = "not_a_mailslot"
    SLOT_NAME = "bad_slot_name"
    DATA = "data_out_of_bounds"
    EMPTY = "empty"
    OPCODE = "opcode"
    RECORD = "record"
    OWN = "own"
    DUPLICATE = "duplicate"
    POSES_AS_US = "poses_as_us"
    OTHER_NAME = "other_name"
    OTHER_INTERFACE = "other_interface"
    CLOSED_SLOT = "closed_slot"
    UNASKED = "unasked"
    TOO_MANY = "too_many"


class Refused(Exception):
    """What is dropped, and why. Never answered."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
