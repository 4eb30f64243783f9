"""Dead letters: listing, explaining, and redriving them where that can help."""
