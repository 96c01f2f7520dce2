"""What every test shares: no deadlines (machines are busy), and one thread a process."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in every subprocess
settings.register_profile("fromzero", deadline=None)
settings.load_profile("fromzero")
