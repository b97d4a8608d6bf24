"""The table [netbios] of a configuration. Loaded only if there is one, and then `net` with it."""

from msfs_fuse.config.source import Source, check_table
from msfs_fuse.config.tables import convert
from msfs_fuse.net.netbios.settings import NetbiosSettings

_PATH = ("netbios",)


def read_netbios(source: Source, value: object, before: NetbiosSettings | None) -> NetbiosSettings:
    """The network of one file.

    Args:
        value: of the key `netbios`.
        before: the one that another file has already.

    Raises:
        CommandError: something in it is wrong.
    """
    if before is not None:
        raise source.error(_PATH, "another file has [netbios] already")
    table = check_table(source, _PATH, value)
    if "interfaces" not in table:
        raise source.error(_PATH, 'netbios needs interfaces, a list such as ["eth0"]')
    return convert(source, _PATH, table, NetbiosSettings)
