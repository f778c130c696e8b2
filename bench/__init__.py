"""Measured claims of the documentation: one module for each, run by `codojo bench NAME`.

Peers are measured side by side in the same run, in interleaved rounds; what is reported are medians and
ratios, because absolute times on a shared machine are noise.
"""
