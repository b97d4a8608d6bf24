"""Mailslots as Windows and Samba send them: [MS-MAIL] on NetBIOS datagrams, RFC 1001 and 1002.

Nothing here is authenticated, and nobody but the configuration turns it on.
"""
