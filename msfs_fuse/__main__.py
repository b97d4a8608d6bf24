"""`python -m msfs_fuse` is `msfs`."""

from msfs_fuse.commands.main import main

main()
