"""What is counted on a NetBIOS network."""

from collections import Counter
from dataclasses import dataclass, field

from msfs_fuse.core.metrics import counter
from msfs_fuse.net.netbios.refusal import Reason


@dataclass
class Counts:
    """Plain numbers since the mount began.

    Attributes:
        dropped: datagrams and packets of the name service by the reason why.
    """

    received: int = counter("Messages of the NetBIOS network for a slot that is open to it.")
    delivered: int = counter("Messages of the NetBIOS network put in a slot.")
    no_slot: int = counter("Messages of the NetBIOS network for a slot that is not there.")
    slot_refused: int = counter("Messages of the NetBIOS network that a slot did not take.")
    asked: int = counter("Questions for NetBIOS names of others, each broadcast.")
    lost_unknown: int = counter("Messages lost because nobody has the NetBIOS name.")
    answered: int = counter("Answers to questions for our NetBIOS names.")
    defended: int = counter("Claims of others to our NetBIOS names that were refused.")
    not_answered: int = counter("Questions for our NetBIOS names over the rate that is answered.")
    dropped: Counter[Reason] = field(default_factory=lambda: Counter(dict.fromkeys(Reason, 0)))
