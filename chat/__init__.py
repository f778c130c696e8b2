"""Conversation with the team: sessions in the log, approvals, corrections, and the terminal.

Faces read one event stream (`codojo.graphs.events`) and call one `Conversation`; nothing here is known
to the rooms below.
"""
