from __future__ import annotations

import os
import sys
from pathlib import Path

# Workers import the steps by name, as they import those of the package.
sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)
