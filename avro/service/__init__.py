"""What `bridge` and `streams` have in common as services. They never import each other, so it stands here."""
