"""The record: an append-only log, the journal that makes effects happen once, and what folds from it."""
