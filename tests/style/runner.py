#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The runner itself: a test that crashes, hangs, runs nothing or lies must count as failed."""
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from proc import gone, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

spec = importlib.util.spec_from_file_location("run", HERE.parent / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)

# name, program text, (passed, failed, skipped)
SCRIPTS = [
	("two rows pass", "print('ok 1 - a\\nok 2 - b\\n1..2')", (2, 0, 0)),
	("a failed row", "print('ok 1 - a\\nnot ok 2 - b\\n# why\\n1..2'); raise SystemExit(1)", (1, 1, 0)),
	("a skipped row", "print('ok 1 - a # SKIP no kernel\\n1..1')", (0, 0, 1)),
	("everything skipped", "print('1..0 # SKIP no network')", (0, 0, 1)),
	("ends badly after good rows", "print('ok 1 - a\\n1..1'); raise SystemExit(3)", (1, 1, 0)),
	("killed", "import os\nprint('ok 1 - a', flush=True); os.kill(os.getpid(), 11)", (1, 1, 0)),
	("a planned row is missing", "print('1..2\\nok 1 - a')", (1, 1, 0)),
	("no plan", "print('ok 1 - a')", (1, 1, 0)),
	("no case at all", "print('1..0')", (0, 1, 0)),
	("prints nothing", "pass", (0, 1, 0)),
	("hangs", "import time\nprint('1..1', flush=True)\ntime.sleep(60)", (0, 1, 0)),
]


def main():
	tap = Tap()
	run.SLOWER = 1
	with tempfile.TemporaryDirectory() as tmp:
		for name, text, wanted in SCRIPTS:
			path = Path(tmp) / "t.py"
			path.write_text(text + "\n")
			job = run.Job("t", [sys.executable, str(path)], 2 if name == "hangs" else 30)
			run.run_job(job)
			tap.equal((job.passed, len(job.failed), len(job.skipped)), wanted, f"runner: {name}")
		path.write_text("import os\nopen(os.environ['TMPDIR'] + '/report.7', 'w').write('race')\n"
		    "print('ok 1 - a\\n1..1')\n")
		job = run.Job("t", [sys.executable, str(path)], 30)
		run.run_job(job)
		tap.equal(len(job.failed), 1, "runner: a sanitizer report of a child counts")
		path.write_text("import subprocess, sys\np = subprocess.Popen(['sleep', '100'])\n"
		    "print('ok 1 - %d\\n1..1' % p.pid)\n")
		job = run.Job("t", [sys.executable, str(path)], 30)
		_, _, how = run.run_program(job, Path(tmp))
		pid = int((Path(tmp) / "out").read_text().split("\n")[0].split()[-1])
		tap.ok(how == "" and wait_for("its end", lambda: gone(pid)), "runner: what a test leaves behind is killed")
	tap.done()


if __name__ == "__main__":
	main()
