"""The kernel's side: FUSE requests become calls into the core, and their results replies.

Importing this package loads the C extension that has to stand before libfuse when pyfuse3 is
loaded, so the modules in here may import pyfuse3 in any order.
"""

from msfs_fuse.fuse import interpose as interpose
