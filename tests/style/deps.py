#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""`make deps` names what the tree really uses, is silent when nothing is missing, and says
what is missing where it can install nothing."""
import os
import re
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
from proc import Dir, run  # noqa: E402
from tap import Tap  # noqa: E402

DEPS = ROOT / "tests/lib/deps.sh"
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<([^>]+)>", re.M)
# what gcc and libc6-dev bring by themselves
IMPLIED = {"linux-libc-dev", "libc6-dev", "libgcc-12-dev"}


def owners(paths):
	"""Packages that own the files."""
	_, out, _ = run(["dpkg", "-S", *sorted(paths)])
	return {line.split(":")[0] for line in out.splitlines() if line}


def include_files():
	dirs = [Path("/usr/include"), *Path("/usr/include").glob("*-linux-gnu")]
	names = {m for top in ("common", "db", "policy", "milters", "contrib", "tests")
	    for p in (ROOT / top).rglob("*.[ch]") for m in INCLUDE.findall(p.read_text(errors="replace"))}
	return {str(d / n) for n in names for d in dirs if (d / n).is_file()}


def pc_files():
	text = (ROOT / "Makefile").read_text()
	modules = {m for line in re.findall(r"^PKG_\w+\s*:=\s*(.*)$", text, re.M) for m in line.split()} | {"check"}
	out = set()
	for m in modules:
		_, folder, _ = run(["pkg-config", "--variable=pcfiledir", m])
		out.add(f"{folder.strip()}/{m}.pc")
	return out


def main():
	tap = Tap()
	_, out, _ = run([DEPS, "--list"])
	listed = set(out.split())
	missing = owners(pc_files()) - listed
	tap.ok(not missing, "every pkg-config module of the Makefile is brought", " ".join(missing))
	missing = owners(include_files()) - listed - IMPLIED
	tap.ok(not missing, "every system header is brought", " ".join(sorted(missing)))
	used = owners(include_files() | pc_files())
	idle = {p for p in listed if p.endswith("-dev")} - used - IMPLIED
	tap.ok(not idle, "no library is asked for that nobody includes", " ".join(sorted(idle)))

	begin = time.monotonic()
	status, out, err = run([DEPS])
	took = time.monotonic() - begin
	tap.ok((status, out, err) == (0, "", "") and took < 2, "silent and quick when nothing is missing",
	    f"{status} {out} {err} {took:.2f} s")

	tmp = Dir()
	for name, text in (("dpkg-query", "exit 1"), ("id", "echo 1000"), ("sudo", "exit 1"), ("apt-get", "exit 99")):
		tmp.write(name, f"#!/bin/sh\n{text}\n").chmod(0o755)
	env = {"PATH": f"{tmp}:{os.environ['PATH']}"}
	status, out, err = run([DEPS], env=env)
	tap.ok(status == 1 and "liblmdb-dev" in out and "apt-get install" in err, "tells a user without rights what to install",
	    f"{status}\n{out}\n{err}")
	bare = tmp.write("bare/cat", "").parent
	for tool in ("sh", "dirname"):
		os.symlink(shutil.which(tool), bare / tool)
	status, out, err = run([shutil.which("sh"), DEPS], env={"PATH": str(bare)})
	tap.ok(status == 1 and "no Debian system" in err and "liblmdb-dev" in err, "says so on a system without dpkg",
	    f"{status}\n{out}\n{err}")
	tap.done()


if __name__ == "__main__":
	main()
