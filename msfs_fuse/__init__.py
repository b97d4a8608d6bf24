"""MSFS: Windows-style mailslots as plain files on Linux."""

__version__ = "0.1.0"
