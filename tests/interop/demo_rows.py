#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The demo as a test: each row of its table is a case.  demo_rows_redis.py plays it once more
with state at a Redis server."""
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
sys.path.insert(0, str(HERE.parent / "demo"))
from demo import Demo  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

ROWS_LEAST = {"embedded": 43, "redis": 45}      # a demo that stops early must not count as right


class Quiet(Demo):
	def header(self):
		pass

	def show(self, row, number):
		pass


def main(state="embedded"):
	tap = Tap()
	demo = Quiet(state)
	fault = ""
	try:
		demo.play()
	except Skip as e:
		demo.site.stop_all()
		skip_all(str(e))
	except Exception as e:
		fault = f"{type(e).__name__}: {e}"
	for what, tier, expected, seen, lies, good in demo.rows:
		tap.ok(good, f"{what} ({tier})", f"expected {expected}\nseen     {seen}\nlies in  {lies}")
	tap.ok(not fault and len(demo.rows) >= ROWS_LEAST[state], "the demo runs to its end",
	    f"{fault}\n{len(demo.rows)} rows\n{demo.site.logs()}")
	demo.site.stop_all()
	tap.done()


if __name__ == "__main__":
	main()
