"""What `msfs keygen`, `msfs config` and `msfs doctor` do with the keys of a domain."""

from msfs_fuse.commands import output
from msfs_fuse.config.options import DomainSettings
from msfs_fuse.errors import CommandError
from msfs_fuse.net.keyring import Keyring, KeyringError, load_keyring
from msfs_fuse.net.mqtt.dial import CredentialsError, load_credentials


def load_secrets(domain: DomainSettings) -> Keyring:
    """Read the keyring of a domain, and the files that its brokers need.

    Raises:
        CommandError: one of them cannot be used.
    """
    try:
        keyring = load_keyring(domain.keyring)
        for broker in domain.brokers:
            load_credentials(broker)
    except (KeyringError, CredentialsError) as error:
        raise CommandError(f"domain {domain.name}: {error}") from None
    return keyring


def show_keys(keyring: Keyring) -> None:
    """Print a line for each key, without the key itself."""
    output.print_lines(
        f"key {key.fingerprint} {'sends and receives' if not number else 'receives'}"
        for number, key in enumerate(keyring.keys)
    )
