"""`msfs domain`: the authority of a domain, and who is a member."""

import argparse
import os

from msfs_fuse.commands import output
from msfs_fuse.commands.command import Command
from msfs_fuse.commands.keys import show_keys
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.net.trust.authority import Authority, AuthorityError, request

_EPILOG = """\
The admin of a domain has a directory with its authority, and gives each host a member file:

  msfs domain create corp               makes ./corp, which stays with the admin
  msfs domain admit corp build7 build8  makes corp/build7.member and corp/build8.member
  msfs mount -o member=build7.member DIR

A host that leaves for good, or whose file was stolen, is revoked; copy the list beside the member
file of every host, and have the daemons read it (systemctl reload msfs; or kill -HUP, the pid is in
.msfs/status):

  msfs domain revoke corp build8        makes corp/corp.revoked
  msfs domain admit --renew corp build8 lets it in again, with another certificate

What a revoked host has still is the domain's key, and with it broadcasts can be read. To change
the key without a gap, do this three times; each time copy corp/corp.key beside every member file,
and send SIGHUP, before the next step:

  msfs domain rekey corp

A host can keep its private key to itself:

  msfs domain request build9            on the host: build9.member and build9.request
  msfs domain admit corp --request build9.request     for the admin: corp/build9.certificate
  cat build9.certificate >> build9.member             on the host again
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    create = actions.add_parser("create", help="make the authority of a new domain")
    create.add_argument("directory", metavar="DOMAIN", help="the directory to make, called so")
    create.set_defaults(action=_create)

    admit = actions.add_parser("admit", help="make a member file for each host")
    admit.add_argument("--renew", action="store_true", help="one more, for hosts that have one")
    admit.add_argument("--request", metavar="FILE", help="for a host that keeps its key to itself")
    admit.add_argument("directory", metavar="DOMAIN", help="the authority's directory")
    admit.add_argument("hosts", metavar="HOST", nargs="*")
    admit.set_defaults(action=_admit)

    ask = actions.add_parser("request", help="make a key that stays here, and what the admin needs")
    ask.add_argument("host", metavar="HOST", help="name of this host")
    ask.set_defaults(action=_request)

    revoke = actions.add_parser("revoke", help="put the certificates of a host on the list")
    revoke.add_argument("directory", metavar="DOMAIN", help="the authority's directory")
    revoke.add_argument("host", metavar="HOST")
    revoke.set_defaults(action=_revoke)

    rekey = actions.add_parser("rekey", help="the next of three steps to another domain key")
    rekey.add_argument("directory", metavar="DOMAIN", help="the authority's directory")
    rekey.set_defaults(action=_rekey)


def _create(args: argparse.Namespace) -> None:
    made = Authority.create(args.directory)
    output.print_lines([f"domain {made.name}: keep {_short(made.directory)} where no host is"])


def _admit(args: argparse.Namespace) -> None:
    authority = Authority.load(args.directory)
    if bool(args.hosts) == (args.request is not None):
        raise CommandError("admit takes hosts, or --request FILE", Exit.USAGE)
    if args.request is not None:
        paths = [authority.admit_request(args.request, renew=args.renew)]
    else:
        paths = authority.admit(args.hosts, renew=args.renew)
    output.print_lines(map(_short, paths))


def _request(args: argparse.Namespace) -> None:
    output.print_lines(map(_short, request(args.host)))


def _revoke(args: argparse.Namespace) -> None:
    path = Authority.load(args.directory).revoke(args.host)
    output.print_lines([f"{_short(path)}: copy it beside every member file, then SIGHUP"])


def _rekey(args: argparse.Namespace) -> None:
    path, step, keys = Authority.load(args.directory).rekey()
    output.print_lines([f"step {step}"])
    output.print_lines([f"{_short(path)}: copy it beside every member file, then SIGHUP"])
    show_keys(keys)


def _short(path: str) -> str:
    """A path as people would write it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _run(args: argparse.Namespace) -> Exit:
    try:
        args.action(args)
    except AuthorityError as error:
        raise CommandError(str(error)) from None
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG)
