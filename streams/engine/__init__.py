"""What makes Faust exact: takeover, checkpoints, lease, guard, stores."""
