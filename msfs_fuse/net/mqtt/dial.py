"""Connections to a broker: the login, TLS, and what went wrong in few words."""

import contextlib
import errno
import os
import socket
import ssl
from typing import NamedTuple

import trio

from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.private_file import PrivateFileError, SecretError, read_private_file

# What may wait in the kernel to be sent, in bytes (it doubles that). Where a broker is slow, this
# is what comes late; what is more is refused (QueueFull).
_SEND_BUFFER = 64 * 1024


class Login(NamedTuple):
    """What a broker is shown, read from its files."""

    user: str | None
    password: str | None
    tls: ssl.SSLContext | None


def load_login(broker: BrokerSettings) -> Login:
    """Read the files that a broker's settings name.

    Raises:
        SecretError: one cannot be used.
    """
    password = None
    if broker.password_file is not None:
        try:
            text = read_private_file(broker.password_file).decode()
        except (PrivateFileError, UnicodeDecodeError) as error:
            words = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise SecretError(f"password_file {broker.password_file}: {words}") from None
        password = text.partition("\n")[0]
    tls = _tls(broker) if broker.address.scheme == "mqtts" else None
    return Login(broker.user, password, tls)


def _tls(broker: BrokerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca)
    except (OSError, ssl.SSLError) as error:
        raise SecretError(f"ca {broker.ca}: {_reason(error)}") from None
    # With it a write may have to wait for something to read, which nobody here waits for.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if broker.cert is not None and broker.key is not None:
        try:
            read_private_file(broker.key)
            context.load_cert_chain(broker.cert, broker.key, password="")
        except PrivateFileError as error:
            raise SecretError(f"key {broker.key}: {error}") from None
        except (OSError, ssl.SSLError) as error:
            raise SecretError(f"cert {broker.cert}: {_reason(error)}") from None
    return context


async def dial(broker: BrokerSettings, tls: ssl.SSLContext | None) -> socket.socket:
    """Connect, and shake hands.

    Raises:
        OSError: it could not be done; words() has it for people.
        trio.TooSlowError: not within `connect_timeout`.
    """
    address = broker.address
    with trio.fail_after(broker.connect_timeout):
        if address.path:
            stream = await trio.open_unix_socket(address.path)
        else:
            stream = await trio.open_tcp_stream(address.host, address.port)
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            if tls is not None:
                sock = await _shake_hands(sock, tls, address.host)
        except BaseException:
            sock.close()
            raise
    return sock


async def _shake_hands(sock: socket.socket, tls: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Take a socket over, even if that fails."""
    secured = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(secured)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(secured)
            else:
                return secured
    except BaseException:
        secured.close()
        raise


def words(error: BaseException) -> str:
    """Why there is no connection, for people."""
    while isinstance(error, OSError) and error.errno is None and error.__cause__ is not None:
        error = error.__cause__  # trio's "all attempts to connect failed" has each of them there
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
    if isinstance(error, trio.TooSlowError):
        return "no answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "connection lost"
    return _reason(error)


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return f"TLS: {reason.replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno is not None:
        with contextlib.suppress(ValueError):
            text = os.strerror(error.errno)
            return (
                "connection lost"
                if error.errno in (errno.EPIPE, errno.ECONNRESET)
                else (text[0].lower() + text[1:])
            )
    return str(error) or type(error).__name__
