"""`make test`: every test side by side, and a file that failed once more by itself. One law: neither failure is hidden.

The tests run on real servers that share few cores with each other. One that fails in such company and not alone says
something about the company, and is named at the end; one that fails alone as well is a failure.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

FILES_MAX: Final = 3
"""With more files than these in trouble it is not the company."""
TESTS_FAILED: Final = 1


class Failures:
    """A pytest plugin that keeps what failed, from every worker."""

    def __init__(self) -> None:
        self.tests: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        if report.failed:
            self.tests.append(report.nodeid)

    def files(self) -> list[str]:
        """The test files of what failed."""
        return sorted({test.partition("::")[0] for test in self.tests})


def main(arguments: list[str]) -> int:
    """Run pytest with `arguments`; its exit code, 0 where what failed passed alone."""
    failures = Failures()
    code = int(pytest.main(arguments, plugins=[failures]))
    files = failures.files()
    if code != TESTS_FAILED or not 0 < len(files) <= FILES_MAX:
        return code
    print(f"\nOnce more, by themselves: {', '.join(files)}", flush=True)
    alone = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:xdist", *files], check=False).returncode
    if alone == 0:
        print("Failed beside other tests and passed alone:", *sorted(set(failures.tests)), sep="\n  ")
    return alone


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
