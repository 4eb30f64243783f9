"""What every process shares, and the stack for developers."""
