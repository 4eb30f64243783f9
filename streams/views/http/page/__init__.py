"""The live page: files that a browser runs as they are, and how they are served."""
