"""The fixtures every test may ask for. One law: real servers, started only when a test asks."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tests import `tools` and `tests`, which are not installed

os.environ.setdefault("GPUAAS_PORTS", "any")  # test processes side by side each start suites; none has the usual ports

pytest_plugins = ["gpuaas.common.testing.fixtures"]
