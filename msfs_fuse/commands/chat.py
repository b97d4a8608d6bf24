"""`msfs chat`: a chat of everybody in a domain, or on one host."""

import argparse
import contextlib
import errno
import getpass
import os
import re
import secrets
import select
import sys
import time
from collections.abc import Callable

from msfs_fuse import client
from msfs_fuse.client import Mailslot
from msfs_fuse.commands import arguments, targets
from msfs_fuse.commands.ask import reply_slot
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.output import emit, printable
from msfs_fuse.commands.serving import sender_facts
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.core.names import Address, fold
from msfs_fuse.errors import CommandError, Exit, Stopped
from msfs_fuse.mounts import find_mount
from msfs_fuse.programs import FormatError, chat, room
from msfs_fuse.programs.chat import Line
from msfs_fuse.programs.room import Member, Room, Source

_EPILOG = """\
ROOM is a name of a-z, 0-9, _ and -, or DOMAIN/NAME; without it, the room is lobby. Without DOMAIN
it is the primary domain, and where none is configured the users of this host. Not with [netbios]:
there nobody would know who says what. Whoever can write in the domain can join: a room is no
secret, but a private line reaches its receiver alone.

Others appear as NICK@HOST. They choose the nickname; the host is proven. Who has the same nickname
on the same host as one before him gets a number: anna@ada#2.

  /who               who is there
  /msg NICK TEXT     tell one; NICK may be NICK@HOST
  /nick NICK         change the nickname
  /history [N]       what was shown last
  /help, /quit

If standard input is no terminal, each line of it is sent, and what arrives is printed; the end of
it ends the chat, unless -t says how long to stay.

exit codes:
  0  the chat is over
  1  failed
  2  the command line is wrong
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
"""

_HELP = "/who  /msg NICK TEXT  /nick NICK  /history [N]  /quit; anything else is said to all"

_SLOT_MODE = 0o622  # others write, nobody else reads
_ATTEMPTS = 20
_OWN_IDS = 1000
_BLOCK = 65536
# What is no terminal may send lines without an end.
_LONGEST_INPUT = 65536

Show = Callable[[str], None]


class Chat:
    """One who chats: two slots, and what he and others say.

    Attributes:
        slots: to wait for; `take` takes from them.
        going: whether he has not quit.
    """

    def __init__(
        self, mount: str, domain: str | None, name: str, nick: str, private: Mailslot, show: Show
    ) -> None:
        self.going = True
        self._mount = mount
        self._target = Address(domain, (room.room_slot(name),))
        self._nick = nick
        self._host = targets.read_status(mount)["host"]
        self._private = private
        self._show = show
        self._room = Room(f"{nick}@{self._host}")
        self._joiner = chat.Joiner()
        self._own_ids: dict[str, None] = {}
        public = self._serve(name)
        if domain is None:
            public.network = private.network = False
        self.slots = (public, private)
        self._next_here = time.monotonic() + room.HERE_SECONDS
        if not self._send("join", private.name):
            self.slots[0].close()
            raise CommandError(f"{self._mount}: nobody in this room can be reached")

    def _serve(self, name: str) -> Mailslot:
        for _ in range(_ATTEMPTS):
            spelt = room.spelling(name)
            try:
                slot = Mailslot(spelt, mount=self._mount, mode=_SLOT_MODE, exclusive=True)
                os.chmod(slot.path, _SLOT_MODE)  # whatever the umask
                return slot
            except FileExistsError:
                continue
            except OSError as error:
                path = os.path.join(self._mount, spelt)
                raise targets.refusal(error, path, self._mount) from None
        raise CommandError(f"{self._mount}: somebody has taken all slots of this room")

    def close(self) -> None:
        """Say that we leave, and serve no more."""
        with contextlib.suppress(CommandError):
            self._send("leave", self._private.name)
        self.slots[0].close()

    def take(self, slot: Mailslot) -> bool:
        """Take one message, if there is one.

        Raises:
            CommandError: the mount is gone.
        """
        try:
            data = slot.take()
        except OSError as error:
            raise targets.refusal(error, slot.path, self._mount) from None
        if data is None:
            return False
        facts = sender_facts(slot, self._mount)
        is_local = facts.get("sender_proof") == "local"
        if not is_local and facts.get("sender_proof") != "proven":
            return True
        try:
            part = chat.parse(data)
        except FormatError:
            return True
        source = Source(*map(facts.get, ("sender_host", "sender_uid", "sender_pid")))
        is_own = is_local and source.uid == str(os.geteuid()) and part.line.id in self._own_ids
        now = time.monotonic()
        line = None if is_own else self._joiner.add((source, slot.name), part, now)
        if line is not None:
            taken = self._room.take(source, line, now, is_private=slot is self._private)
            self._tell_user(taken.shown)
            if taken.answer is not None:
                with contextlib.suppress(OSError):
                    self._send_to(taken.answer, Line("here", "", self._nick, self._private.name))
        return True

    def take_some(self) -> None:
        """Take what there is, but no more than a line that we say can bring back."""
        for slot in self.slots:
            for _ in range(chat.MAX_PARTS):
                if not self.take(slot):
                    break

    def tick(self) -> float:
        """Do what is due; in how many seconds to come again."""
        now = time.monotonic()
        self._tell_user(self._room.expire(now))
        if now >= self._next_here:
            self._next_here = now + room.HERE_SECONDS
            self._send("here", self._private.name)
        return self._next_here - now

    def enter(self, text: str, *, echo: bool) -> None:
        """Do what the user has typed: a command, or a line to all.

        Args:
            echo: show him what he says.
        """
        for line in filter(str.strip, text.splitlines()):
            word, _, rest = line.strip().partition(" ")
            if word.startswith("/"):
                self._obey(word, rest.strip(), echo)
            elif self._send("say", line) and echo:
                self._tell_user([f"{self._room.own}: {line}"])

    def _obey(self, word: str, rest: str, echo: bool) -> None:
        match word:
            case "/who":
                me = f"{self._room.own} (you)"
                for text in (
                    me,
                    *(
                        f"{each.label} (user {each.source.uid or '?'})"
                        for each in self._room.members
                    ),
                ):
                    self._show(text)
            case "/msg":
                name, _, text = rest.partition(" ")
                self._tell(name, text.strip(), echo)
            case "/nick":
                if not chat.is_nickname(rest):
                    self._show("a nickname has up to 24 letters, digits and _.-")
                    return
                before, self._nick = self._nick, rest
                self._room.own = f"{rest}@{self._host}"
                if self._send("nick", before):
                    self._tell_user([f"you are now {self._room.own}"])
            case "/history":
                number = int(rest) if re.fullmatch("[0-9]{1,4}", rest) else 20
                for text in list(self._room.history)[-number:] if number else ():
                    self._show(text)
            case "/quit":
                self.going = False
            case "/help":
                self._show(_HELP)
            case _:
                self._show(f"there is no {word}: {_HELP}")

    def _tell(self, name: str, text: str, echo: bool) -> None:
        found = self._room.named(name)
        if not name or not text:
            self._show("/msg NICK TEXT")
        elif not found:
            self._show(f"nobody here is called {name} (/who)")
        elif len(found) > 1:
            self._show(f"which one: {', '.join(each.label for each in found[:10])}?")
        else:
            try:
                self._send_to(found[0], Line("tell", "", self._nick, text))
            except (FormatError, OSError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                self._show(f"not sent to {found[0].label}: {why}")
            else:
                if echo:
                    self._tell_user([f"you to {found[0].label}: {text}"])

    def _send(self, kind: str, text: str) -> bool:
        """Send a line to the room; whether that was possible.

        Raises:
            CommandError: the mount is gone.
        """
        try:
            messages = chat.split(self._line(Line(kind, "", self._nick, text)))
            if self._target.host is not None:
                for message in messages:
                    client.write(client.file_of(self._target, self._mount), message)
                return True
            wanted = fold(self._target.path[0])
            for name in os.listdir(self._mount):
                if fold(name) == wanted:
                    self._send_here(name, messages)
        except FormatError as error:
            self._show(f"not sent: {error}")
            return False
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
                raise targets.refusal(error, self._mount, self._mount) from None
            self._show(f"not sent: {error.strerror}")
            return False
        return True

    def _send_here(self, name: str, messages: list[bytes]) -> None:
        """Write to one slot of the room; it is his loss who keeps us out, or does not read."""
        try:
            for message in messages:
                client.write(os.path.join(self._mount, name), message)
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
                raise

    def _send_to(self, member: Member, line: Line) -> None:
        """Send a line to one alone. OSError, FormatError: that is not possible, and why."""
        host = member.source.host
        if member.private is None:
            raise FormatError("no slot for private lines is known of him")
        messages = chat.split(self._line(line))
        is_here = host is None or fold(host) == fold(self._host)
        path = client.file_of(
            Address(None if is_here else host, tuple(member.private.split("/"))), self._mount
        )
        # Nobody is to have us write where he may not write himself.
        if is_here and str(os.lstat(path).st_uid) != member.source.uid:
            raise FormatError("the slot for private lines is another user's")
        for message in messages:
            client.write(path, message)

    def _line(self, line: Line) -> Line:
        ident = secrets.token_hex(4)
        self._own_ids[ident] = None
        if len(self._own_ids) > _OWN_IDS:
            del self._own_ids[next(iter(self._own_ids))]
        return line._replace(id=ident)

    def _tell_user(self, texts: list[str]) -> None:
        for text in texts:
            self._room.history.append(text)
            self._show(text)


def _by_pipe(talk: Chat, signals: StopSignals, seconds: float | None) -> None:
    """Send the lines of standard input, and take what comes, until its end or the time is over."""
    deadline = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    for each in (signals, *talk.slots):
        poll.register(each, select.POLLIN)
    # By descriptor: a file can be polled, and Python's buffer hides what it has.
    stdin = None if sys.stdin is None else sys.stdin.fileno()
    if stdin is not None:
        poll.register(stdin, select.POLLIN)
    rest = b""
    while talk.going and (stdin is not None or deadline is not None):
        wait = talk.tick()
        if deadline is not None:
            wait = min(wait, deadline - time.monotonic())
            if wait <= 0:
                return
        ready = {fd for fd, _ in poll.poll(wait * 1000)}
        if signals.caught is not None:
            raise Stopped(signals.caught)
        for slot in talk.slots:
            talk.take(slot)
        if stdin is not None and stdin in ready:
            data = os.read(stdin, _BLOCK)
            *lines, rest = (rest + data).split(b"\n")
            if not data or len(rest) > _LONGEST_INPUT:
                lines, rest = [*lines, rest], b""
            for line in lines:
                if talk.going:
                    talk.enter(line.decode(errors="replace"), echo=False)
                    talk.take_some()  # what we have said comes back, and must not fill our slot
            if not data:
                poll.unregister(stdin)
                stdin = None


def _place(text: str, mount: str) -> tuple[str | None, str]:
    """The domain, None for this host alone, and the name of the room."""
    domain, slash, name = text.rpartition("/")
    name = fold(name)
    if not room.is_room(name) or (slash and not domain.removeprefix("@")):
        raise CommandError(
            f"{text!r} is no room: NAME or DOMAIN/NAME, where NAME is of a-z, 0-9, _ and -",
            Exit.USAGE,
        )
    domains = targets.read_status(mount).get("domains", "").split()
    if not slash:
        return domains[0] if domains else None, name
    for each in domains:
        if fold(each) == fold(domain.removeprefix("@")):
            return each, name
    raise CommandError(
        f"{mount} is in no domain {domain.removeprefix('@')} (msfs status; "
        f"without a domain: msfs chat {name})"
    )


def _own_name() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.geteuid())
    return name if chat.is_nickname(name) else str(os.geteuid())


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(
        parser.add_argument("room", metavar="ROOM", nargs="?", default="lobby", help="the room"),
        "rooms",
    )
    parser.add_argument("--nick", metavar="NICK", help="the nickname, if not your user's name")
    parser.add_argument(
        "-t", dest="seconds", type=arguments.seconds, metavar="SECONDS", help="end after this time"
    )


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    domain, name = _place(args.room, mount)
    nick = _own_name() if args.nick is None else args.nick
    if not chat.is_nickname(nick):
        raise CommandError(f"{nick!r} is no nickname: up to 24 letters, digits and _.-", Exit.USAGE)
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty():
        from msfs_fuse.commands.chat_terminal import converse, show_line

        with (
            reply_slot(mount) as private,
            contextlib.closing(Chat(mount, domain, name, nick, private, show_line)) as talk,
        ):
            converse(
                talk, f"{nick}, you are in {name} of {domain or 'this host'}. {_HELP}", args.seconds
            )
        return Exit.OK
    with (
        StopSignals() as signals,
        reply_slot(mount) as private,
        contextlib.closing(Chat(mount, domain, name, nick, private, _print)) as talk,
    ):
        _by_pipe(talk, signals, args.seconds)
    return Exit.OK


def _print(text: str) -> None:
    emit(printable(text).encode(errors="replace") + b"\n")


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
