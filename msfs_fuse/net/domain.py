"""A domain as one of its members sees it: seals what goes out, opens what comes in. Pure."""

import os
from collections import OrderedDict
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.core.slot import Sender
from msfs_fuse.net.datagram import (
    EPOCH_SIZE,
    Header,
    Kind,
    Message,
    Presence,
    Reason,
    Refused,
    Scope,
    decode_message,
    decode_presence,
    encode_message,
    encode_presence,
    open_body,
    parse_header,
    seal,
)
from msfs_fuse.net.keyring import Key, Keyring
from msfs_fuse.net.replay import Replays

# Ciphers of senders, kept because a key takes as long to derive as a datagram to open.
_MAX_CIPHERS = 1024


class Opened(NamedTuple):
    """A datagram that a member of the domain has sent, seen for the first time.

    Attributes:
        epoch: names the sender from its start to its end.
    """

    kind: Kind
    epoch: bytes
    body: Message | Presence

    @property
    def host(self) -> str:
        """The one that has sent it."""
        return self.body.host if isinstance(self.body, Presence) else self.body.sender.host


class Domain:
    """Times are milliseconds since 1970.

    Args:
        name: of the domain; part of every key.
        host: this host's name.
        now: our start; what was sent before it is refused.
        epoch: names us as a sender; random, but for tests.

    Raises:
        ValueError: a name that no host or domain can have.
    """

    def __init__(
        self, name: str, host: str, keyring: Keyring, now: int, epoch: bytes | None = None
    ) -> None:
        for each in (name, host):
            if not is_host_name(each):
                raise ValueError(f"{each!r} cannot be the name of a host or domain")
        self.name = name
        self.host = host
        self.epoch = epoch or os.urandom(EPOCH_SIZE)
        self._counter = 0
        self._replays = Replays(now)
        self.use_keys(keyring)

    def use_keys(self, keyring: Keyring) -> None:
        """Send and receive with these keys from now on."""
        self._by_id: dict[int, list[Key]] = {}
        for key in keyring.keys:
            self._by_id.setdefault(key.id_in(self.name), []).append(key)
        self._ciphers: OrderedDict[tuple[Key, bytes], ChaCha20Poly1305] = OrderedDict()
        first = keyring.keys[0]
        # The counter goes on: another key makes another cipher, whatever the counter.
        self._sends_as = first.id_in(self.name), first.cipher(self.name, self.epoch)

    def seal_message(
        self,
        scope: Scope,
        destination: str,
        path: tuple[str, ...],
        data: bytes,
        sender: Sender,
        now: int,
    ) -> bytes:
        """A datagram with a message.

        Raises:
            ValueError: names, or data, that it cannot carry.
        """
        body = encode_message(
            Message(now, sender._replace(host=self.host), scope, destination, path, data)
        )
        return self._seal(Kind.MESSAGE, body)

    def seal_presence(self, kind: Kind, now: int) -> bytes:
        """A HELLO or BYE."""
        return self._seal(kind, encode_presence(Presence(now, self.host)))

    def _seal(self, kind: Kind, body: bytes) -> bytes:
        key_id, cipher = self._sends_as
        self._counter += 1
        return seal(cipher, Header(kind, key_id, self.epoch, self._counter), body)

    def open(
        self, datagram: bytes, now: int, *, sender: str | None = None, stored: bool = False
    ) -> Opened:
        """What a datagram holds. One that is refused changes nothing.

        Args:
            sender: the only host that it can be from, if its carrier tells.
            stored: its carrier kept it for those who come later.

        Raises:
            Refused: it is not for us, not from a member, not new, or not whole.
        """
        header = parse_header(datagram)
        keys = self._by_id.get(header.key_id)
        if keys is None:
            raise Refused(Reason.UNKNOWN_KEY)
        if header.epoch == self.epoch:
            raise Refused(Reason.OWN)
        self._replays.check(header.epoch, header.counter)
        sealed = self._decrypt(keys, header, datagram)
        body: Message | Presence
        if header.kind is Kind.MESSAGE:
            body = decode_message(sealed)
            mine = self.host if body.scope is Scope.HOST else self.name
            if fold(body.destination) != fold(mine):
                raise Refused(Reason.OTHER_DESTINATION)
        else:
            body = decode_presence(sealed)
        opened = Opened(header.kind, header.epoch, body)
        if sender is not None and fold(sender) != fold(opened.host):
            raise Refused(Reason.OTHER_SENDER)
        # A message that a broker keeps is one that it replays.
        stored = stored and header.kind is Kind.HELLO
        self._replays.accept(header.epoch, header.counter, body.sent_at, now, stored=stored)
        return opened

    def _decrypt(self, keys: list[Key], header: Header, datagram: bytes) -> bytes:
        for key in keys:
            cached = self._ciphers.get((key, header.epoch))
            cipher = cached or key.cipher(self.name, header.epoch)
            try:
                body = open_body(cipher, header.counter, datagram)
            except Refused:
                if key is keys[-1]:
                    raise
                continue
            if cached is None:  # kept only once it has opened something
                self._ciphers[key, header.epoch] = cipher
                if len(self._ciphers) > _MAX_CIPHERS:
                    self._ciphers.popitem(last=False)
            return body
        raise AssertionError("a key id without a key")
