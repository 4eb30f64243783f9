"""For all tests: how hard hypothesis looks. HYPOTHESIS_PROFILE chooses; in CI the default is `ci`."""

import os

from hypothesis import settings

# No deadline: machines pause, and a slow example is no wrong one.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True)
settings.register_profile("long", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))
