"""MSFS: Windows-style mailslots as plain files on Linux.

The names below are the Python API; `msfs_fuse.client` has its text. They are loaded when they are
used, so that the daemon and the commands do not pay for what they do not need.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msfs_fuse.async_client import AsyncMailslot, async_messages, async_send
    from msfs_fuse.client import (
        Mailslot,
        Message,
        NoMountError,
        Sender,
        messages,
        path_of,
        send,
    )

__version__ = "0.1.0"

__all__ = [
    "AsyncMailslot",
    "Mailslot",
    "Message",
    "NoMountError",
    "Sender",
    "async_messages",
    "async_send",
    "messages",
    "path_of",
    "send",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    is_async = name.lower().startswith("async")
    module = importlib.import_module("msfs_fuse.async_client" if is_async else "msfs_fuse.client")
    value: object = getattr(module, name)
    globals()[name] = value
    return value
