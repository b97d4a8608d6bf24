"""What people run on top of a mount. They use it as anybody does: as files."""
