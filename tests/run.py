#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs every test and counts real cases; the last line is `N passed, N failed[, N skipped]`.

	BUILD=build SAN= tests/run.py [PATTERN ...]     PATTERN: regular expression on the name

Four kinds: unit/* (Check programs), fuzz/* (seeds replayed), interop/*, faults/*, style/*
(scripts that print TAP).  Two at a time, each in a process group of its own with a time
limit; a script may say in its first lines

	# check: alone          nothing else runs beside it
	# check: timeout 600    seconds instead of 300

A failure is: a `not ok` row, a row of the plan that never came, a program that ends badly
without such a row or runs no case, and a report that a sanitizer wrote in any process
that the test started.  With CI=true more skips than tests/skips.allowed records fail too.
"""
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
SAN = os.environ.get("SAN", "")
SLOWER = 4 if SAN else 1
ROW = re.compile(r"^(ok|not ok)\b\s*(\d*)\s*-?\s*(.*?)\s*$")
PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*SKIP\b\s*(.*))?$", re.I)
SKIP = re.compile(r"^(.*?)\s*#\s*SKIP\b\s*(.*)$", re.I)
PR_SET_CHILD_SUBREAPER = 36


class Job:
	def __init__(self, name, argv, timeout, alone=False, tap_file=False, rows=None):
		self.name, self.argv, self.alone, self.tap_file = name, argv, alone, tap_file
		self.timeout = timeout * SLOWER
		self.rows = rows            # the names of the cases, where known beforehand
		self.passed, self.failed, self.skipped = 0, [], []
		self.seconds = 0.0


def script_notes(path):
	alone, timeout = False, 300
	with open(path, encoding="utf-8", errors="replace") as f:
		for _, line in zip(range(20), f):
			m = re.match(r"#\s*check:\s*(alone|timeout\s+(\d+))", line)
			if m and m[2]:
				timeout = int(m[2])
			elif m:
				alone = True
	return alone, timeout


def find_jobs():
	jobs = []
	for kind in ("interop", "faults", "style"):
		for path in sorted((ROOT / "tests" / kind).glob("*.py")):
			alone, timeout = script_notes(path)
			jobs.append(Job(f"{kind}/{path.stem}", [sys.executable, str(path)], timeout, alone))
	for source in sorted((ROOT / "tests/unit").glob("test_*.c")):
		jobs.append(Job(f"unit/{source.stem}", [str(BUILD / "tests/unit" / source.stem)], 240,
		    tap_file=True))
	for source in sorted((ROOT / "tests/fuzz").glob("fuzz_*.c")):
		name = source.stem[len("fuzz_"):]
		seeds = [str(p) for p in sorted((ROOT / "tests/fuzz/seeds" / name).glob("*")) if p.is_file()]
		jobs.append(Job(f"fuzz/{name}", [str(BUILD / "fuzz" / ("replay_" + name)), *seeds], 240,
		    rows=seeds))
	return jobs


def environment(tmp):
	env = dict(os.environ, BUILD=str(BUILD), SAN=SAN, LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
	env.pop("CK_RUN_CASE", None)
	env.pop("CK_RUN_SUITE", None)
	env["TMPDIR"] = str(tmp)
	env["CK_TAP_LOG_FILE_NAME"] = str(tmp / "tap")
	if "thread" in SAN:
		env["CK_FORK"] = "no"      # a forked child of a threaded process misleads TSan
	if SAN:
		env["CK_TIMEOUT_MULTIPLIER"] = "5"
		# a report of any child counts, not only one whose stderr the test reads
		common = f"log_path={tmp}/report:"
		env["ASAN_OPTIONS"] = common + "detect_stack_use_after_return=1:abort_on_error=0"
		env["UBSAN_OPTIONS"] = common + "print_stacktrace=1"
		env["TSAN_OPTIONS"] = common + "second_deadlock_stack=1"
		for tool, key in (("asan", "ASAN"), ("lsan", "LSAN"), ("tsan", "TSAN"), ("ubsan", "UBSAN")):
			supp = ROOT / "tests" / (tool + ".supp")
			if supp.exists():
				env[key + "_OPTIONS"] = env.get(key + "_OPTIONS", common) + \
				    f":print_suppressions=0:suppressions={supp}"
	return env


def run_program(job, tmp):
	"""Returns (TAP text, all other output, how it ended or '' when it ended well)."""
	with open(tmp / "out", "wb") as out, open(tmp / "err", "wb") as err:
		try:
			p = subprocess.Popen(job.argv, cwd=ROOT, env=environment(tmp), stdin=subprocess.DEVNULL,
			    stdout=out, stderr=err, start_new_session=True)
		except OSError as e:
			return "", "", f"cannot run: {e}"
		try:
			p.wait(job.timeout)
			how = "" if p.returncode == 0 else f"exit status {p.returncode}"
			if p.returncode < 0:
				how = f"killed by {signal.Signals(-p.returncode).name}"
		except subprocess.TimeoutExpired:
			how = f"not done after {job.timeout} s"
		try:
			os.killpg(p.pid, signal.SIGKILL)   # what the test left behind, too
		except ProcessLookupError:
			pass
		p.wait()
	text = {n: (tmp / n).read_bytes().decode("utf-8", "replace") if (tmp / n).exists() else ""
	    for n in ("out", "err", "tap")}
	if job.tap_file:
		return text["tap"], text["out"] + text["err"], how
	return text["out"], text["err"], how


def read_tap(job, tap):
	"""Fills job's counts; returns what is wrong with the text as such, or ''."""
	plan, seen, failing = None, 0, None
	for line in tap.splitlines():
		if m := PLAN.match(line):
			plan = int(m[1])
			if plan == 0 and m[2] is not None:
				job.skipped.append((job.name, m[2] or "no reason given"))
				return ""
		elif m := ROW.match(line):
			seen += 1
			failing = None
			name = m[3] or f"row {seen}"
			if m[1] == "not ok":
				failing = [name, ""]
				job.failed.append(failing)
			elif s := SKIP.match(name):
				job.skipped.append((s[1], s[2] or "no reason given"))
			else:
				job.passed += 1
		elif failing is not None and line.startswith("#"):
			failing[1] += line[1:].removeprefix(" ") + "\n"
	if plan is None:
		return "the TAP text has no plan"
	if plan != seen:
		return f"{plan} cases planned, {seen} ran"
	return "" if seen else "no case ran"


def run_job(job):
	tmp = Path(tempfile.mkdtemp(prefix="pst"))
	tmp.chmod(0o1777)                       # servers that drop privileges write reports too
	begin = time.monotonic()
	try:
		tap, other, how = run_program(job, tmp)
		wrong = read_tap(job, tap)
		if how and (wrong or not job.failed):
			wrong = f"{how}; {wrong}" if wrong else how
		if wrong and job.rows and 0 < len(job.rows) > (ran := job.passed + len(job.failed)):
			wrong += f"; at {job.rows[ran]}"
		if wrong:
			job.failed.append([wrong, other[-20000:]])
		elif job.failed and other.strip():
			job.failed[-1][1] += "-- output of the program --\n" + other[-20000:]
		for report in sorted(tmp.glob("report.*"))[:5]:
			job.failed.append(["a sanitizer reports", report.read_text(errors="replace")[:20000]])
	finally:
		shutil.rmtree(tmp, ignore_errors=True)
	job.seconds = time.monotonic() - begin


def show(job):
	parts = [f"{job.passed} passed"]
	if job.failed:
		parts.append(f"{len(job.failed)} FAILED")
	if job.skipped:
		parts.append(f"{len(job.skipped)} skipped")
	print(f"{job.name:<32} {', '.join(parts)}  ({job.seconds:.1f} s)", flush=True)


def run_all(jobs, slots=2):
	lock = threading.Lock()
	beside = [j for j in jobs if not j.alone]

	def worker():
		while True:
			with lock:
				if not beside:
					return
				job = beside.pop(0)
			run_job(job)
			with lock:
				show(job)

	threads = [threading.Thread(target=worker) for _ in range(slots)]
	for t in threads:
		t.start()
	for t in threads:
		t.join()
	for job in jobs:
		if job.alone:
			run_job(job)
			show(job)


def kill_orphans():
	"""Daemons that left their group were handed to us as their reaper: end them."""
	me, count = os.getpid(), 0
	for _ in range(100):
		try:
			while os.waitpid(-1, os.WNOHANG)[0]:
				pass
			kids = [int(k) for k in Path(f"/proc/{me}/task/{me}/children").read_text().split()]
		except (ChildProcessError, OSError):
			break
		if not kids:
			break
		for pid in kids:
			os.kill(pid, signal.SIGKILL)
			count += 1
		time.sleep(0.01)
	return count


def skips_allowed():
	"""Sum of the numbers that open the lines of tests/skips.allowed; the rest is the reason."""
	path = ROOT / "tests/skips.allowed"
	lines = path.read_text().splitlines() if path.exists() else []
	return sum(int(line.split()[0]) for line in lines if line.strip() and line[0] != "#")


def main():
	patterns = [re.compile(a) for a in sys.argv[1:]]
	jobs = [j for j in find_jobs() if not patterns or any(p.search(j.name) for p in patterns)]
	ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	run_all(jobs)
	orphans = kill_orphans()
	passed = sum(j.passed for j in jobs)
	failed = [(j.name, *f) for j in jobs for f in j.failed]
	skipped = [(j.name, *s) for j in jobs for s in j.skipped]
	if orphans:
		print(f"\nkilled {orphans} processes that tests left behind")
	if os.environ.get("CI") == "true" and len(skipped) > skips_allowed():
		failed.append(("skips", f"{len(skipped)} skipped, tests/skips.allowed records {skips_allowed()}", ""))
	if not jobs or not passed and not failed and not skipped:
		failed.append(("run.py", "nothing ran", ""))
	for where, name, diag in failed:
		print(f"\nFAILED {where}: {name}")
		print("".join(f"    {line}\n" for line in diag.splitlines()), end="")
	if skipped:
		print()
	for where, name, reason in skipped:
		print(f"SKIPPED {where}: {name}: {reason}")
	last = f"{passed} passed, {len(failed)} failed"
	print("\n" + last + (f", {len(skipped)} skipped" if skipped else ""), flush=True)
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main())
