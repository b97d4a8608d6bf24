"""Handlers without a mount. The package that stands before pyfuse3 has to be loaded first."""

import msfs_fuse.fuse as fuse

assert fuse.interpose
