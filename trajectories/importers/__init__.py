"""Importers: what other programs recorded, as trajectories of the log.

Each format is one module with two functions: does a JSON value look like mine (`recognise`), and the
conversation it holds (`read`). `reading` finds values in files, under caps; `writing` plays a conversation
into the log through the journal, as a rollout whose effects a file answers.
"""
