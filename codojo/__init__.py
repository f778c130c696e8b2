"""codojo: a team of language-model agents that solves tasks and trains itself on what worked."""
