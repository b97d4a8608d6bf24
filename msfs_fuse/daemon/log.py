"""Where the log of a mount goes: to stderr, to the journal, or in the background to syslog."""

import logging
import logging.handlers
import os

_SYSLOG_SOCKET = "/dev/log"

# sd-daemon(3): the priority in front of a line that goes to the journal.
_JOURNAL_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        priority = _JOURNAL_PRIORITIES[record.levelname]
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def _logs_to_journal() -> bool:
    """Whether stderr is the stream of systemd.exec(5). A shell may have inherited its name."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def configure(*, background: bool, debug: bool) -> None:
    """Log to stderr, with priorities if that is the journal; in the background to syslog."""
    handler: logging.Handler
    form = "%(name)s: %(message)s"
    if background and os.path.exists(_SYSLOG_SOCKET):
        handler = logging.handlers.SysLogHandler(_SYSLOG_SOCKET)
        handler.ident = "msfs: "
        handler.setFormatter(logging.Formatter(form))
    elif background:
        handler = logging.NullHandler()
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(
            _JournalFormatter(form)
            if _logs_to_journal()
            else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
        )
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
