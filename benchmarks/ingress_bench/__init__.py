"""The parts of the ingress benchmark."""
