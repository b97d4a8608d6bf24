"""What `msfs keygen` and `msfs config` show of the keys of a domain."""

from msfs_fuse.commands import output
from msfs_fuse.net.keyring import Keyring


def show_keys(keyring: Keyring) -> None:
    """Print a line for each key, without the key itself."""
    output.print_lines(
        f"key {key.fingerprint} {'sends and receives' if not number else 'receives'}"
        for number, key in enumerate(keyring.keys)
    )
