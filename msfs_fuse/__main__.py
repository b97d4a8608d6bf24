"""`python -m msfs_fuse` is `msfs`."""

from msfs_fuse.cli import main

main()
