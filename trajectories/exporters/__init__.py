"""Exporters: rows and trajectories as files that trainers and other tools read.

A format is a pure function from one row or one trajectory to JSON records (`formats.Format`); what is common
to all of them, atomic and streaming writing, is done once in `writing`. To add a format: write a module
with a `FORMATS` tuple and name it in `formats.MODULES`.
"""
