"""`msfs messenger`: shows messages to people, as the Messenger service of Windows did."""

import argparse
import contextlib
import errno
import os
import select
import signal
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup, TaskStatus

from msfs_fuse.client import Mailslot, Sender
from msfs_fuse.commands import arguments, popups, stop, targets
from msfs_fuse.commands.command import Command
from msfs_fuse.commands.execute import describe_end
from msfs_fuse.commands.output import complain, emit, printable, standard_output
from msfs_fuse.commands.serving import EXIT_CODES, go_on, serve
from msfs_fuse.core.names import fold
from msfs_fuse.errors import CommandError, Exit, Stopped
from msfs_fuse.mounts import ENVIRONMENT, find_mount
from msfs_fuse.programs import FormatError, messenger
from msfs_fuse.programs import messenger_session as session
from msfs_fuse.programs.folding import Folder
from msfs_fuse.programs.messenger import Notice

_EPILOG = f"""\
Each message that msfs net-send, NET SEND or smbclient -M sends here is shown: by a popup on your
desktop; where there is none, on your terminal (as root, on everybody's), unless mesg(1) says no;
and always in the journal. A message to another user of this host is shown on his terminal alone.
It is shown with the name that its sender gave, and with who really sent it: the host, and the
number of its user.

The user unit msfs-messenger.service starts it with a desktop, and is the way to have it always; -b
is for scripts.

Of many messages in short time the first five are shown, and then one popup with the number of the
others.

--print and --exec are for programs, and get every message. The command has the text on standard
input, and MSFS_FROM, MSFS_TO, MSFS_SENDER_HOST, MSFS_SENDER_UID and MSFS_MOUNT in the environment.
It has a minute. After ^C or SIGTERM msfs messenger lets it finish, and ends then; a second signal
is passed on to the command.

With --session messages are also taken by SMB sessions, as smbclient -M sends them. Port 139 needs
root or CAP_NET_BIND_SERVICE, and Samba must not use it. Anybody who can reach the port can send,
as anybody, and everybody between can read.

{EXIT_CODES}"""

_SLOT_MODE = 0o622  # everybody may write
_SUMMARY_SECONDS = 1.0

# What strangers may take up: connections at once, and seconds for a whole session.
_MAX_SESSIONS = 32
_SESSION_SECONDS = 30.0
_READ_SIZE = 4096
_COMMAND_SECONDS = 60.0


class _Message(NamedTuple):
    notice: Notice
    source: str  # who sent it really
    sender: Sender

    @property
    def title(self) -> str:
        """Who says so, and who did."""
        return f"Message from {self.notice.sender} ({self.source}) to {self.notice.recipient}"


class _Shows:
    """Shows messages, and of a flood how many there are."""

    def __init__(self, args: argparse.Namespace, mount: str) -> None:
        self._args = args
        self._mount = mount
        self._folder = Folder()
        self._desktop: popups.Desktop | None = None if args.no_desktop else popups.Notifications()
        self._popup = 0
        self._last: _Message | None = None
        self._count = 0

    def show(self, message: _Message) -> None:
        """Show a message, or count it."""
        if self._folder.admits(time.monotonic()):
            self._count = 0
            self._popup = self._display(message.title, message, 0)
        else:
            self._last = message

    def summarise(self) -> None:
        """Show how many messages were only counted, if any, in place of the popup that did so."""
        held = self._folder.release()
        if held and self._last is not None:
            is_first, self._count = self._count == 0, self._count + held
            title = f"{self._count} more messages, the last from {self._last.notice.sender}"
            title += f" ({self._last.source})"
            self._popup = self._display(title, self._last, 0 if is_first else self._popup)

    def _display(self, title: str, message: _Message, replaces: int) -> int:
        text = message.notice.text
        popups.log(f"{title}: {text}")
        uid = popups.uid_of(message.notice.recipient)
        for_another = uid is not None and uid != os.geteuid()
        if not for_another and self._desktop is not None:
            number = self._desktop.show(title, text, replaces)
            if number is not None:
                return number
        if not self._args.no_terminals:
            if for_another and uid is not None:
                uids: list[int] | None = [uid]
            else:
                uids = None if os.geteuid() == 0 and uid is None else [os.geteuid()]
            for terminal in popups.terminals(uids):
                popups.write_to(terminal, title, text)
        return 0


def _source_of(sender: Sender, own_host: str) -> str:
    if sender.host is None:
        return "unknown"
    if sender.proof == "claimed":
        return f"{sender.host}, unproven"
    where = "this host" if fold(sender.host) == fold(own_host) else sender.host
    return where if sender.uid is None else f"{where}, user {sender.uid}"


class _Service:
    """The messenger at work.

    Attributes:
        caught: the signal that ended it.
        failures: how many commands of --exec failed.
    """

    def __init__(self, args: argparse.Namespace, mount: str, slot: Mailslot) -> None:
        self._args = args
        self._mount = mount
        self._slot = slot
        self._host = targets.read_status(mount)["host"]
        self._shows = _Shows(args, mount)
        self._taken = 0
        self._sessions = 0
        self._end: Callable[[], None] = lambda: None
        self._commands: set[int] = set()  # their process groups
        self._turn = anyio.Lock()
        self.caught: int | None = None
        self.failures = 0

    async def run(self) -> None:
        """Serve until it is over."""
        async with anyio.create_task_group() as around:
            await around.start(self._obey)
            with anyio.move_on_after(self._args.seconds):
                async with anyio.create_task_group() as tasks:
                    self._end = tasks.cancel_scope.cancel
                    if self._args.session is not None:
                        await self._listen(tasks)
                    tasks.start_soon(self._summarise)
                    tasks.start_soon(self._watch_output)
                    while True:
                        await anyio.wait_readable(self._slot)
                        self._check_output()
                        data = self._slot.take()
                        if data is not None:
                            await self._take(data, self._slot.sender())
            around.cancel_scope.cancel()
        self._shows.summarise()

    async def _watch_output(self) -> None:
        fd = standard_output() if self._args.print else None
        if fd is not None and stat.S_ISFIFO(os.fstat(fd).st_mode):
            await anyio.wait_readable(fd)  # only the error of a pipe that nobody reads is that
            self._check_output()

    def _check_output(self) -> None:
        """Raise BrokenPipeError if nobody reads what --print prints: no message is to be lost."""
        if self._args.print:
            poll = select.poll()
            poll.register(standard_output(), 0)
            if poll.poll(0):
                raise BrokenPipeError

    async def _listen(self, tasks: TaskGroup) -> None:
        try:
            listener = await anyio.create_tcp_listener(
                local_host=self._args.session, local_port=session.PORT
            )
        except OSError as error:
            why = error.strerror or error
            hint = " (it takes root or CAP_NET_BIND_SERVICE)" if error.errno == errno.EACCES else ""
            raise CommandError(f"TCP port {session.PORT} cannot be used: {why}{hint}") from None
        tasks.start_soon(listener.serve, self._converse)

    async def _obey(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """End at the first signal, and pass the others on to what runs."""
        with anyio.open_signal_receiver(*stop.wanted()) as signals:
            task_status.started()
            async for number in signals:
                for group in self._commands if self.caught is not None else ():
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(group, number)
                self.caught = self.caught or number
                self._end()

    async def _summarise(self) -> None:
        while True:
            await anyio.sleep(_SUMMARY_SECONDS)
            await anyio.to_thread.run_sync(self._shows.summarise)

    async def _take(self, data: bytes, sender: Sender) -> None:
        try:
            notice = messenger.decode(data, self._args.code_page)
        except FormatError:
            # Whoever writes plain text to the slot has something to say, too.
            text = messenger.decode_text(data.replace(b"\0", b"\n"), self._args.code_page)
            notice = Notice("?", self._host, text)
        await self._deliver(_Message(notice, _source_of(sender, self._host), sender))

    async def _deliver(self, message: _Message) -> None:
        """Show a message, whatever comes: it has been taken, and would be lost."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if self._taken == self._args.count:
                    return
                self._taken += 1
                if self._args.print:
                    text = " | ".join(map(printable, message.notice.text.split("\n")))
                    emit(f"{printable(message.title)}: {text}\n".encode())
                if self._args.command is not None:
                    await self._execute(message)
                await anyio.to_thread.run_sync(self._shows.show, message)
                if self._taken == self._args.count:
                    self._end()

    async def _execute(self, message: _Message) -> None:
        host, uid = message.sender.host, message.sender.uid
        environment = {
            **os.environ,
            ENVIRONMENT: self._mount,
            "MSFS_FROM": message.notice.sender,
            "MSFS_TO": message.notice.recipient,
            "MSFS_SENDER_HOST": host or "",
            "MSFS_SENDER_UID": "" if uid is None else str(uid),
        }
        text = message.notice.text.encode(errors="replace")
        problem = await self._run_command(text, environment)
        if problem is not None:
            self.failures += 1
            complain(f"{self._slot.name}: {problem}")

    async def _run_command(self, text: bytes, environment: dict[str, str]) -> str | None:
        """Run the command to its end; what went wrong, if anything."""
        try:
            # In memory, not a pipe: not to read the text is the command's good right.
            with os.fdopen(os.memfd_create("message"), "w+b") as stdin:
                stdin.write(text)
                stdin.seek(0)
                process = await anyio.open_process(
                    ["/bin/sh", "-c", self._args.command],
                    stdin=stdin,
                    stdout=None,
                    stderr=None,
                    env=environment,
                    start_new_session=True,  # ^C at the terminal is meant for us
                )
        except OSError as error:
            return f"cannot start the command: {error.strerror}"
        self._commands.add(process.pid)
        try:
            with anyio.fail_after(_COMMAND_SECONDS):
                code = await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            return f"the command took more than {_COMMAND_SECONDS:g} s"
        finally:
            self._commands.discard(process.pid)
        return None if code == 0 else f"the command {describe_end(code)}"

    async def _converse(self, stream: SocketStream) -> None:
        """One SMB session."""
        async with stream:
            if self._sessions >= _MAX_SESSIONS:
                return
            self._sessions += 1
            try:
                address = str(stream.extra(SocketAttribute.remote_address)[0])
                receiver = session.Receiver(self._is_for_us, self._args.code_page)
                with anyio.move_on_after(_SESSION_SECONDS):
                    while not receiver.refused:
                        await stream.send(receiver.feed(await stream.receive(_READ_SIZE)))
                        while receiver.notices:
                            notice = receiver.notices.pop(0)
                            source = f"{address}, unproven"
                            await self._deliver(_Message(notice, source, Sender(address)))
            except (FormatError, anyio.EndOfStream, anyio.BrokenResourceError):
                return
            finally:
                self._sessions -= 1

    def _is_for_us(self, name: str) -> bool:
        if fold(name) in (fold(self._host)[:15], "*"):
            return True
        return popups.uid_of(fold(name)) is not None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--print", action="store_true", help="print each message, too")
    parser.add_argument(
        "--exec", dest="command", metavar="CMD", help="run `sh -c CMD` for each message, too"
    )
    parser.add_argument("--no-desktop", action="store_true", help="no popups")
    parser.add_argument("--no-terminals", action="store_true", help="nothing on terminals")
    parser.add_argument(
        "--session",
        nargs="?",
        const="0.0.0.0",
        metavar="ADDRESS",
        help="take SMB sessions on TCP port 139, at all addresses or at this one",
    )
    parser.add_argument(
        "--code-page",
        type=arguments.code_page,
        default=messenger.OEM_CODE_PAGE,
        metavar="NAME",
        help="of what comes, unless it is UTF-8 (cp850)",
    )
    arguments.add_serving(parser)


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    if args.print:
        standard_output()
    with serve(messenger.SLOT, mount, mode=_SLOT_MODE) as slot:
        with contextlib.suppress(OSError):  # it may have been somebody else's before
            os.chmod(slot.path, _SLOT_MODE)
        go_on([slot.name], background=args.background)
        service = _Service(args, mount, slot)
        failures: list[Exception] = []
        try:
            anyio.run(service.run)
        except* (CommandError, OSError) as group:  # what is raised here would be in a group again
            failures += _leaves(group)
    for error in failures:
        if isinstance(error, OSError) and error.filename == slot.path:
            raise targets.refusal(error, slot.path, mount)
        raise error
    if service.caught is not None:
        raise Stopped(service.caught)
    return Exit.FAILED if service.failures else Exit.OK


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
