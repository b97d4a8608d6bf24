"""What people run: one module for each command of `msfs`."""
