"""Several workers as one: owners, peers, relaying, waiting."""
