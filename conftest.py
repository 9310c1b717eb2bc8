"""The fixtures every test may ask for. One law: real servers, started only when a test asks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tests import `tools` and `tests`, which are not installed

pytest_plugins = ["gpuaas.common.testing.fixtures"]
