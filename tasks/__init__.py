"""Tasks, suites, splits and verdicts; the katas; and the guard that keeps test text out of training."""
