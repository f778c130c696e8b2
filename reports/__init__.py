"""Pages drawn from the log: improve reports and rollouts. They stand alone and trust no text in them."""
