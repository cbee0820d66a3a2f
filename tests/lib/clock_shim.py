# SPDX-License-Identifier: BSD-2-Clause
"""Programs whose wall clock is wrong: shim(600) is the environment of one that is ten minutes
ahead.  Not for sanitizer builds, whose runtime wants to be loaded first."""
import os
import subprocess

from proc import BUILD, ROOT

SOURCE = ROOT / "tests/preload/clock.c"
LIBRARY = BUILD / "tests/clock_shim.so"


def shim(seconds):
	if not LIBRARY.exists() or LIBRARY.stat().st_mtime < SOURCE.stat().st_mtime:
		LIBRARY.parent.mkdir(parents=True, exist_ok=True)
		fresh = f"{LIBRARY}.{os.getpid()}"
		subprocess.run([os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", fresh, SOURCE],
		    check=True)
		os.rename(fresh, LIBRARY)
	return {"LD_PRELOAD": str(LIBRARY), "POSTERN_TEST_AHEAD": str(seconds)}
