"""The conversation in a terminal: what is shown, what can be typed, and the loop between them."""
