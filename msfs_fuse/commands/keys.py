"""What `msfs domain` and `msfs config` show of the keys of a domain."""

from msfs_fuse.commands import output
from msfs_fuse.net.trust.keys import Keys


def show_keys(keys: Keys) -> None:
    """Print a line for each key, without the key itself."""
    output.print_lines(
        f"key {key.fingerprint} {'sends and receives' if not place else 'receives'}"
        for place, key in enumerate(keys)
    )
