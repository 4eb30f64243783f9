"""What bridges and workers do at this moment, from their own metrics, on a terminal."""
