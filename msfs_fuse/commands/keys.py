"""`msfs keygen` and `msfs config --check`: keys and where they are used."""

import os

from msfs_fuse.commands import output
from msfs_fuse.config.file import read_configuration
from msfs_fuse.errors import CommandError
from msfs_fuse.net.assembly import NetworkError, load
from msfs_fuse.net.keyring import Key, Keyring, KeyringError, load_keyring, save_keyring


def change(path: str, *, add: bool, use: str | None, remove: str | None) -> None:
    """Make a keyring, or change the one there is, and show its keys.

    Raises:
        CommandError: it cannot be done.
    """
    path = os.path.abspath(path)
    is_new = not (add or use or remove)
    try:
        if is_new:
            keyring = Keyring((Key.generate(),))
        else:
            keyring = load_keyring(path)
            if add:
                keyring = keyring.add(Key.generate())
            elif use is not None:
                keyring = keyring.use(use)
            elif remove is not None:
                keyring = keyring.remove(remove)
        save_keyring(path, keyring, new=is_new)
    except KeyringError as error:
        text = str(error)
        raise CommandError(text if path in text else f"keyring {path}: {text}") from None
    _show(keyring)


def check_configuration(path: str | None) -> None:
    """Read the configuration and the files that it names, and show what they make.

    Raises:
        CommandError: the first thing that is wrong.
    """
    network = read_configuration(path).network
    if network is None:
        output.print_lines(["no domain: other hosts are out of reach"])
        return
    for domain in network.domains:
        try:
            _, keyring = load(domain, "localhost")
        except NetworkError as error:
            raise CommandError(str(error)) from None
        ways = ", ".join(map(str, domain.transports))
        output.print_lines([f"domain {domain.name}: {ways}, {domain.keyring}"])
        _show(keyring)


def _show(keyring: Keyring) -> None:
    output.print_lines(
        f"key {key.fingerprint} {'sends and receives' if not number else 'receives'}"
        for number, key in enumerate(keyring.keys)
    )
