"""The engine under Faust: takeover, checkpoints, lease, guard, stores."""
