"""The current activity of bridges and workers, from their own metrics, on a terminal."""
