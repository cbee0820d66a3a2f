#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The published test suite for RFC 7208 through `posternctl test spf`: every result must be
among those that the suite accepts, every explanation word for word.  The suite lies in a
folder `shared` beside this tree (SHARED names another)."""
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from proc import BUILD, ROOT  # noqa: E402
from tap import Skip, Tap  # noqa: E402

TESTS_LEAST = 200
KEY = re.compile(r"^( *)([^\s:#][^:]*):(?: (.*))?$")


def suite():
	places = [os.environ["SHARED"]] if "SHARED" in os.environ else []
	for place in [*places, ROOT.parent / "shared", ROOT.parent.parent / "shared"]:
		path = Path(place) / "vectors/auth/rfc7208-tests.yml"
		if path.exists():
			return path
	raise Skip("no published SPF suite beside this tree (shared/vectors/auth)")


def word(text):
	text = text.strip()
	return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def expected(path):
	"""(scenario, test, accepted results, explanation or None); this much of YAML the file needs."""
	out, scenario, part = [], "", ""
	for line in path.read_text(encoding="utf-8").splitlines():
		m = KEY.match(line)
		if not m:
			continue
		depth, key, value = len(m[1]), m[2], m[3] or ""
		if depth == 0:
			part = key
			scenario = word(value) if key == "description" else scenario
		elif part == "tests" and depth == 4:
			out.append([scenario, key, [], None])
		elif part == "tests" and depth == 8 and key == "result":
			out[-1][2] = [word(w) for w in value.strip("[] ").split(",")]
		elif part == "tests" and depth == 8 and key == "explanation":
			out[-1][3] = word(value)
	return out


def main():
	tap = Tap()
	path = suite()
	wanted = expected(path)
	tap.ok(len(wanted) >= TESTS_LEAST, f"the suite is read: {len(wanted)} tests")
	done = subprocess.run([BUILD / "posternctl", "test", "spf", path], capture_output=True, text=True, timeout=60)
	tap.equal((done.returncode, done.stderr), (0, ""), "posternctl reads it as well")
	rows = [line.split("\t") for line in done.stdout.splitlines()]
	tap.equal([r[:2] for r in rows], [w[:2] for w in wanted], "every test, in the order of the file")
	for (scenario, name, results, explanation), row in zip(wanted, rows):
		tap.ok(row[2] in results, f"{scenario}: {name}: {row[2]}", f"accepted: {results}")
		if explanation is not None and row[2] == "fail":
			tap.equal(row[3], explanation, f"{scenario}: {name}: explanation")
	tap.done()


if __name__ == "__main__":
	try:
		main()
	except Skip as why:
		print(f"1..0 # SKIP {why}")
