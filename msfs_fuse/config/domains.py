"""The tables [domain.NAME] of a configuration. Loaded only if there is one, and then `net` with it.

A domain's table holds the settings of UDP, which is what carries a domain's messages unless
`transport` says otherwise, beside those of the domain itself.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from msfs_fuse.config.source import Path, Source, check_name, check_table, refuse_unknown
from msfs_fuse.config.tables import convert
from msfs_fuse.core.names import fold
from msfs_fuse.net.fields import FilePath, TransportSettings
from msfs_fuse.net.settings import TRANSPORTS, DomainSettings
from msfs_fuse.net.udp.settings import URL, UdpSettings

_UDP_FIELDS = UdpSettings.__struct_fields__


class _DomainTable(UdpSettings, frozen=True, kw_only=True):
    member: Annotated[FilePath | None, Meta(description="the path of a file")] = None
    presence: Annotated[Literal["all", "asked"], Meta(description='"all" or "asked"')] = "all"
    transport: Any = (URL,)


def read_domains(
    source: Source, value: object, before: Sequence[DomainSettings]
) -> list[DomainSettings]:
    """The domains of one file.

    Args:
        value: of the key `domain`.
        before: those that other files have already.

    Raises:
        CommandError: something in it is wrong.
    """
    names = {fold(domain.name or "") for domain in before}
    domains = []
    for key, table in check_table(source, ("domain",), value).items():
        if fold(key) in names:
            raise source.error(("domain", key), f"domain {key} is there already")
        names.add(fold(key))
        domains.append(_domain(source, key, table))
    return domains


def _domain(source: Source, key: str, value: object) -> DomainSettings:
    path = ("domain", check_name(source, ("domain", key), key))
    table = check_table(source, path, value)
    refuse_unknown(source, path, table, _DomainTable.__struct_fields__)
    domain = convert(source, path, table, _DomainTable)
    udp = UdpSettings(**{name: getattr(domain, name) for name in _UDP_FIELDS})
    transports = _transports(source, (*path, "transport"), domain.transport, udp)
    if udp not in transports:
        for name in table:
            if name in _UDP_FIELDS:
                message = f'{name} is for "{URL}", which transport has not'
                raise source.error((*path, name), message)
    member = domain.member or source.beside(f"{key}.member")
    return DomainSettings(key, member, transports, domain.presence)


def _transports(
    source: Source, path: Path, value: object, udp: UdpSettings
) -> tuple[TransportSettings, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise source.error(path, "transport has to be a list of URLs, or of tables with a url")
    transports: dict[str, TransportSettings] = {}
    for number, item in enumerate(value):
        place = (*path, str(number))
        table = {"url": item} if isinstance(item, str) else item
        if not isinstance(table, dict) or not isinstance(table.get("url"), str):
            raise source.error(place, "each transport has to be a URL, or a table with a url")
        url = table["url"]
        if url in transports:
            raise source.error(place, f"{url} is there already", url)
        transports[url] = _transport(source, place, table, udp)
    return tuple(transports.values())


def _transport(
    source: Source, path: Path, table: dict[str, Any], udp: UdpSettings
) -> TransportSettings:
    url: str = table["url"]
    if url == URL:
        for option in set(table) - {"url"}:
            raise source.error((*path, option), f"{URL} has no option {option}", url)
        return udp
    scheme = url.partition(":")[0]
    for kind in TRANSPORTS:
        if scheme in kind.schemes and kind is not UdpSettings:
            return convert(source, path, table, kind, url)
    raise source.error(
        (*path, "url"), "not udp://, mqtt://HOST, mqtts://HOST or mqtt+unix:///PATH", url
    )
