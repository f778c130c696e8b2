"""The browser's face: a small server on loopback, and pages without a line from elsewhere.

Everything it shows comes from the event stream and the log; everything that a person does goes through
`codojo.chat.conversation`, as in the terminal.
"""
