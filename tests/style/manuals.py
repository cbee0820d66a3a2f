#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every manual page is clean mdoc, and every program has one."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
from proc import Dir, run  # noqa: E402
from tap import Tap  # noqa: E402

FOLDERS = ("milters", "common", "policy", "db", "contrib")


def lint(page):
	"""mandoc's warnings and errors, '' when there is none."""
	status, out, err = run(["mandoc", "-Tlint", "-Wwarning", page])
	# "referenced manual not found" speaks of the pages that this host has installed
	lines = [l for l in (out + err).splitlines() if "referenced manual not found" not in l]
	return "\n".join(lines) or (f"status {status}" if status > 2 else "")


def program_name(folder):
	return "posternctl" if folder == "ctl" else "postern-" + folder


def main():
	tap = Tap()
	tmp = Dir()
	bad = tmp.write("bad.8", ".Dd today\n.Dt X 8\n.Os\n.Sh NAME\n.Nm x\n.Bl -tag\n")
	tap.ok(lint(bad), "planted: a broken page is caught")
	pages = sorted(p for f in FOLDERS for p in (ROOT / f).rglob("*.[58]"))
	tap.ok(pages, "there are manual pages")
	for page in pages:
		text = lint(page)
		tap.ok(not text, f"mdoc: {page.relative_to(ROOT)}", text)
	for main_c in sorted([*ROOT.glob("milters/*/main.c"), *ROOT.glob("contrib/*/main.c")]):
		name = program_name(main_c.parent.name)
		tap.ok((main_c.parent / (name + ".8")).exists(), f"manual page of {name}")
	tap.done()


if __name__ == "__main__":
	main()
