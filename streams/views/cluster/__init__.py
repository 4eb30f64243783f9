"""Several workers as one: peers, and waiting for them."""
