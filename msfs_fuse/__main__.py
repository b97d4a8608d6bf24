"""`msfs`, and `python -m msfs_fuse`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process. ^C ends it without a traceback from the beginning."""
    is_caught = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_caught:  # and not ignored, as under nohup(1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from msfs_fuse.commands.main import main as run  # which takes a moment

    if is_caught:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
