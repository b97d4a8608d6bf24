"""`msfs browse`: the hosts of the network, and what each says of itself.

On a NetBIOS network they announce themselves by the Browser protocol, and so does this host. In a
domain the mount knows them, and those that run `msfs browse --announce` tell what they offer.
"""

import argparse
import errno
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from msfs_fuse import client
from msfs_fuse.client import Mailslot
from msfs_fuse.commands import arguments, output, peers, targets
from msfs_fuse.commands.answer import answer
from msfs_fuse.commands.ask import ask
from msfs_fuse.commands.command import Command
from msfs_fuse.commands.output import complain
from msfs_fuse.commands.serving import messages, sender_facts, serve
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.core.attributes import PREFIX
from msfs_fuse.core.names import CONTROL_DIRECTORY, REMOTE_MESSAGE_SIZE, fold
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount
from msfs_fuse.programs import FormatError, browse
from msfs_fuse.programs.browse import Announcement, AnnouncementRequest, Change, Hosts, ServerType

_EPILOG = """\
With [netbios] way = "own" in the configuration, and "BROWSE" among its slots, the hosts of the
workgroup are shown as they announce themselves, until ^C or -t: + came, * changed, - gone, then the
name, what it is, who sent that, and the comment. Nothing of it is proven. This host is announced,
too, as hosts do: at once, after 1, 2, 4 and 8 minutes, then each 12, and when somebody asks. It
takes part in no elections, and says good-bye at the end.

In a domain the hosts are shown that msfs peers shows, once, and what those offer that run
msfs browse --announce: their comments, and the slots that other hosts may write to.

exit codes:
  0  done, or ended by -t
  1  failed
  2  the command line is wrong
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
"""

_NETBIOS = "netbios"
_LINK = f"link {_NETBIOS} "
_ELECTIONS = "#1E"  # which names the workgroup's group of browsers

# Minutes from one announcement to the next; the last goes on. [MS-BRWS] 3.2.6.
_PERIODS = (1, 2, 4, 8, 12)
_MINUTE = 60.0
_LEAST_PAUSE = 2.0  # seconds between two, whoever asks
_LOOK_SECONDS = 5.0
_ASK_SECONDS = 1.0

_NETWORK = PREFIX + "network"

_SIGNS = {"came": "+", "changed": "*", "gone": "-"}
_KINDS = {
    ServerType.DOMAIN_CONTROLLER: "domain controller",
    ServerType.BACKUP_CONTROLLER: "backup controller",
    ServerType.MASTER_BROWSER: "master browser",
    ServerType.PRINT_SERVER: "print server",
    ServerType.UNIX: "unix",
    ServerType.WINDOWS_NT: "windows",
}


class _Network(NamedTuple):
    """What the mount is called on a NetBIOS network."""

    name: str
    workgroup: str


def _network(mount: str) -> _Network | None:
    """The NetBIOS network that this mount hears, if any.

    Raises:
        CommandError: nmbd hears it in its place.
    """
    links = [
        name.removeprefix(_LINK) for name in targets.read_status(mount) if name.startswith(_LINK)
    ]
    groups = [name.removesuffix(_ELECTIONS) for name in links if name.endswith(_ELECTIONS)]
    if links and not groups:
        raise CommandError(
            "nmbd on this host keeps what is for BROWSE to itself, and announces this host "
            "(server string in smb.conf; smbclient -L and nmblookup show the network)"
        )
    return _Network(links[0], groups[0]) if groups else None


class _Announcer:
    """Announces this host to the master browser of its workgroup."""

    def __init__(self, mount: str, network: _Network, comment: str) -> None:
        self._said = Announcement(browse.HOST_ANNOUNCEMENT, network.name, comment)
        self._path = f"@{network.workgroup}#1d.netbios/{browse.SLOT}"
        self._everybody = f"@{network.workgroup}#1e.netbios/{browse.SLOT}"
        self._name = network.name
        self._mount = mount
        self._sent = 0
        self._last = -math.inf
        self._failed = False
        self._is_asked = False
        self.due = time.monotonic()

    def hasten(self) -> None:
        """Somebody asks for an announcement."""
        self.due = min(self.due, max(time.monotonic(), self._last + _LEAST_PAUSE))
        self._is_asked = True

    def announce(self) -> None:
        """Announce, ask all others to do so unless it is them who asked, and plan the next time."""
        minutes = _PERIODS[min(self._sent, len(_PERIODS) - 1)]
        self._last = time.monotonic()
        self.due = self._last + minutes * _MINUTE
        if not self._is_asked:
            self._write(self._everybody, browse.encode(AnnouncementRequest(self._name)))
        self._is_asked = False
        self._send(self._said._replace(period=minutes * _MINUTE))

    def leave(self) -> None:
        """Say that this host goes."""
        # nmbd takes a period of 0 for the longest there is, not for the end.
        self._send(self._said._replace(period=1, server_type=0))

    def _send(self, said: Announcement) -> None:
        self._write(self._path, browse.encode(said._replace(updates=self._sent)))
        self._sent += 1

    def _write(self, name: str, data: bytes) -> None:
        path = os.path.join(self._mount, name)
        try:
            client.write(path, data)
            self._failed = False
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
                raise targets.refusal(error, path, self._mount) from None
            if not self._failed:
                complain(f"{path}: not announced: {error.strerror} (msfs status)")
            self._failed = True


def _refused(mount: str) -> int:
    """How many messages of the network were for slots that are closed to it."""
    with open(os.path.join(mount, CONTROL_DIRECTORY, "metrics"), encoding="utf-8") as file:
        for line in file:
            name, _, value = line.rpartition(" ")
            if name.startswith("msfs_network_dropped_total{") and '"closed_slot"' in name:
                return int(float(value))
    return 0


def _watch(args: argparse.Namespace, mount: str, network: _Network, signals: StopSignals) -> Exit:
    """Show the hosts as they come and go, and announce this one."""
    hosts = Hosts()
    announcer = _Announcer(mount, network, args.comment)
    end = math.inf if args.seconds is None else time.monotonic() + args.seconds
    refused, is_clear = _refused(mount), False  # whether the network may write to our slot
    watched = sys.stdout.fileno() if sys.stdout else None
    with serve(browse.SLOT, mount) as slot:
        try:
            while (now := time.monotonic()) < end:
                if now >= announcer.due:
                    announcer.announce()
                for change in hosts.expire(now):
                    _show(change, args.json)
                if not is_clear and _refused(mount) > refused:
                    is_clear = True
                    complain(
                        "the network wrote to slots that are closed to it and to none that is "
                        f'open: [netbios] needs slots = ["{browse.SLOT}"] (man msfs.toml)'
                    )
                deadline = min(end, announcer.due, now + _LOOK_SECONDS)
                for _, data in messages([slot], mount, signals, watched=watched, deadline=deadline):
                    is_clear = _take(data, slot, mount, hosts, announcer, args.json) or is_clear
                    if time.monotonic() >= announcer.due:
                        break
        finally:
            announcer.leave()
    return Exit.OK


def _take(
    data: bytes, slot: Mailslot, mount: str, hosts: Hosts, announcer: _Announcer, as_json: bool
) -> bool:
    """What to do about a message; whether it came from the network."""
    facts = sender_facts(slot, mount)
    is_ours = facts.get("sender_proof") == "local"
    try:
        frame = browse.decode(data)
    except FormatError:
        return not is_ours
    if isinstance(frame, AnnouncementRequest) and not is_ours:
        announcer.hasten()
    if isinstance(frame, Announcement):
        source = "this host" if is_ours else facts.get("sender_host", "unknown")
        change = hosts.take(frame, source, time.monotonic())
        if change is not None:
            _show(change, as_json)
    return not is_ours


def _show(change: Change, as_json: bool) -> None:
    said = change.host.said
    is_workgroup = said.kind == browse.DOMAIN_ANNOUNCEMENT
    if as_json:
        output.print_json(
            {
                "event": change.event,
                "name": said.name,
                "type": "workgroup" if is_workgroup else "host",
                "comment": said.comment,
                "roles": [] if is_workgroup else _roles(said),
                "server_type": said.server_type,
                "version": "{}.{}".format(*said.version),
                "period": said.period,
                "sender": change.host.source,
            }
        )
        return
    what = "workgroup" if is_workgroup else ", ".join(_roles(said)) or "host"
    about = f"its master {said.comment}" if is_workgroup else said.comment
    sign = _SIGNS[change.event]
    output.print_lines(
        [f"{sign} {said.name:<15}  {what}  ({change.host.source})  {about}".rstrip()]
    )


def _roles(said: Announcement) -> list[str]:
    return [role for bit, role in _KINDS.items() if said.server_type & bit]


# ---- in a domain ----


def _offers(mount: str, comment: str) -> bytes:
    """What this host tells of itself: its comment, then a slot in each line, as many as fit.

    These are the slots in the root of the mount that are served and open to other hosts.
    """
    text = " ".join(comment.split()).encode(errors="replace")[:REMOTE_MESSAGE_SIZE]
    for name in sorted(_open_slots(mount), key=fold):
        line = b"\n" + os.fsencode(name)
        if len(text) + len(line) > REMOTE_MESSAGE_SIZE:
            break
        text += line
    return text


def _open_slots(mount: str) -> Iterator[str]:
    for entry in os.scandir(mount):
        try:
            is_served = entry.is_file() and entry.stat().st_size > 0
            if is_served and os.getxattr(entry.path, _NETWORK) == b"on":
                yield entry.name
        except OSError:
            continue  # gone since, or not for us


def _tell(args: argparse.Namespace, mount: str, signals: StopSignals) -> Exit:
    """Tell other hosts what this one offers, until it is over."""
    end = math.inf if args.seconds is None else time.monotonic() + args.seconds
    with serve(browse.SLOT, mount) as slot:
        failures = answer(
            slot, mount, signals, lambda *_: _offers(mount, args.comment), deadline=end
        )
    return Exit.FAILED if failures else Exit.OK


def _list(args: argparse.Namespace, mount: str, signals: StopSignals) -> Exit:
    """Show the hosts of the domains, and what they offer."""
    heard = peers.read(mount)
    if heard is None:
        raise CommandError(
            'neither a domain nor [netbios] with way = "own" is configured (man msfs.toml)'
        )
    told: dict[tuple[str, str], list[str]] = {}
    for domain in dict.fromkeys(peer["domain"] for peer in heard if peer["domain"] != _NETBIOS):
        try:
            target = f"@{domain}/{browse.SLOT}"
            answers = ask(mount, target, b"", signals, args.seconds or _ASK_SECONDS)
            for slot, said in answers:
                host = fold(sender_facts(slot, mount).get("sender_host", ""))
                lines = said.decode(errors="replace").split("\n")
                told[fold(domain), host.removesuffix(f".{fold(domain)}")] = lines
        except CommandError as error:
            complain(str(error))  # the list of hosts is there in any case
    offers = [told.get((fold(peer["domain"]), fold(peer["host"])), [""]) for peer in heard]
    if args.json:
        output.print_json(
            [
                {**peer, "comment": comment, "slots": slots}
                for peer, (comment, *slots) in zip(heard, offers, strict=True)
            ]
        )
        return Exit.OK
    rows = [
        (*row, comment or output.ABSENT, " ".join(slots) or output.ABSENT)
        for row, (comment, *slots) in zip(peers.rows(heard), offers, strict=True)
    ]
    output.print_table((*peers.HEADER, "COMMENT", "OFFERS"), rows, right={"HEARD"})
    return Exit.OK


def _comment(text: str) -> str:
    """A comment that an announcement has room for."""
    try:
        browse.encode(Announcement(browse.HOST_ANNOUNCEMENT, "X", text))
    except FormatError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--comment",
        type=_comment,
        default="Linux with mailslots",
        metavar="TEXT",
        help="what is said of this host, up to 42 bytes (Linux with mailslots)",
    )
    parser.add_argument(
        "--announce", action="store_true", help="in a domain: tell what this host offers"
    )
    parser.add_argument(
        "-t",
        dest="seconds",
        type=arguments.seconds,
        metavar="SECONDS",
        help="end after this time; in a domain, how long to wait for answers (1)",
    )


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    with StopSignals() as signals:
        network = _network(mount)
        if args.announce and network is None:
            return _tell(args, mount, signals)
        if network is not None:
            return _watch(args, mount, network, signals)
        return _list(args, mount, signals)


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True, json=True)
