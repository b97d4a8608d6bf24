"""The process that serves a mount: how it starts, what runs in it, what it tells the system."""
