from __future__ import annotations

from hypothesis import settings

# No deadline: the first example of a test may import pandas; no database: nothing is left in the folder.
settings.register_profile("data", deadline=None, database=None)
settings.load_profile("data")
