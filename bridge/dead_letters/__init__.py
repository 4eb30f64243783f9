"""What became dead letters: listed, explained, and given to the bridge once more where that can help."""
