"""A chat in a terminal: what arrives is shown above the line that is being typed."""

import asyncio
import signal
import time
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.patch_stdout import patch_stdout

from msfs_fuse.client import Mailslot
from msfs_fuse.commands.output import printable
from msfs_fuse.errors import CommandError, Stopped


class Talk(Protocol):
    """What a terminal needs of a chat: see `commands.chat.Chat`."""

    going: bool

    @property
    def slots(self) -> tuple[Mailslot, ...]: ...

    def take(self, slot: Mailslot) -> bool: ...
    def tick(self) -> float: ...
    def enter(self, text: str, *, echo: bool) -> None: ...


def show_line(text: str) -> None:
    """Show a text of others with the time, and nothing in it that a terminal would obey."""
    print(time.strftime("%H:%M"), printable(text), flush=True)


def _keys() -> KeyBindings:
    """What looks like a mouse, as pasted text may, does nothing: prompt_toolkit fails at some."""
    bindings = KeyBindings()
    bindings.add(Keys.Vt100MouseEvent, eager=True)(lambda event: None)
    return bindings


def converse(talk: Talk, greeting: str, seconds: float | None) -> None:
    """Let the user type, until he quits or the time is over.

    Raises:
        CommandError: the mount is gone.
        Stopped: by a signal.
    """
    asyncio.run(_converse(talk, greeting, seconds))


async def _converse(talk: Talk, greeting: str, seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    prompt: PromptSession[str] = PromptSession(
        "> ", erase_when_done=True, enable_suspend=True, key_bindings=_keys()
    )
    ends: list[BaseException] = []

    def end(reason: BaseException) -> None:
        ends.append(reason)
        for slot in talk.slots:
            loop.remove_reader(slot)
        if prompt.app.is_running and not prompt.app.is_done:
            prompt.app.exit(exception=reason)

    def take(slot: Mailslot) -> None:
        try:
            talk.take(slot)
        except CommandError as error:
            end(error)

    def tick() -> None:
        try:
            loop.call_later(talk.tick(), tick)
        except CommandError as error:
            end(error)

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, Stopped(number))
    if seconds is not None:
        loop.call_later(seconds, end, EOFError())
    with patch_stdout():
        print(greeting, flush=True)
        tick()
        for slot in talk.slots:
            loop.add_reader(slot, take, slot)
        try:
            while talk.going and not ends:
                talk.enter(await prompt.prompt_async(), echo=True)
        except EOFError:
            return
        finally:
            for slot in talk.slots:
                loop.remove_reader(slot)
    if ends and not isinstance(ends[0], EOFError):
        raise ends[0]
