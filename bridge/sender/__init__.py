"""The sender's side: OpenBSP's REST API, through which webhooks are registered."""
