"""Rubbish that is nearly right, for all that takes bytes from others."""
