#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The house's floors, proved from the includes, and what every C file must and must not hold.

	floors.py [TREE]

An arrow runs downward only: base < mail, net < auth, run < db < policy < milters < contrib
< tests (a file includes its own floor's rooms and those below).  Two engines may not lean
on each other: milters/x includes no milters/y, contrib/x no contrib/y; only contrib/ctl
sees the milters' engines and the other programs' configuration.  Every rule is first shown to catch a planted violation.
"""
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
from tap import Tap  # noqa: E402

# room: the rooms that it may include besides itself
ROOMS = {
	"common/base": (),
	"common/mail": ("common/base",),
	"common/net": ("common/base",),
	"common/auth": ("common/base", "common/mail", "common/net"),
	"common/run": ("common/base", "common/mail", "common/net"),
	"db": ("common",),
	"policy": ("common", "db"),
	"milters": ("common", "db", "policy"),
	"contrib": ("common", "db", "policy"),
	"contrib/ctl": ("common", "db", "policy", "milters", "contrib"),
	"tests": ("common", "db", "policy", "milters", "contrib"),
}
TOP = ("milters", "common", "policy", "db", "contrib", "tests")
LINES_MAX = 900
SPDX = "SPDX-License-Identifier: BSD-2-Clause"
FORBIDDEN = ("strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "atol", "atoll", "alloca",
    "gets", "isalpha", "isdigit", "isalnum", "isspace", "isupper", "islower", "isprint", "iscntrl",
    "isxdigit", "ispunct", "isgraph", "toupper", "tolower")
CALL = re.compile(r"(?<![\w.>])(" + "|".join(FORBIDDEN) + r")\s*\(")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
# comments and literals, so that a forbidden word in a sentence does not count
NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blanked(text):
	return NOISE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def room_of(path):
	"""The room of a file or of an include, '' outside the house."""
	parts = path.split("/")
	if parts[0] in ("common", "contrib") and "/".join(parts[:2]) in ROOMS:
		return "/".join(parts[:2])
	return parts[0] if parts[0] in ROOMS else ""


def unit_of(path):
	"""milters/x and contrib/x are separate programs; elsewhere the room."""
	parts = path.split("/")
	return "/".join(parts[:2]) if parts[0] in ("milters", "contrib") else room_of(path)


def may_include(path, target):
	here, there = room_of(path), room_of(target)
	if unit_of(path) == unit_of(target):
		return True
	return any(there == ok or there.startswith(ok + "/") for ok in ROOMS[here])


def check_includes(path, text):
	for m in INCLUDE.finditer(re.sub(r"/\*.*?\*/", lambda c: re.sub(r"[^\n]", " ", c[0]), text, flags=re.S)):
		where = f"{path}:{text.count(chr(10), 0, m.start(2)) + 1}"
		kind, target = m[1], m[2]
		if target == "libmilter/mfapi.h" and room_of(path) != "common/run":
			yield "mfapi", f"{where}: only common/run includes libmilter/mfapi.h"
		elif target == "ctype.h":
			yield "forbidden", f"{where}: ctype.h depends on the locale"
		elif target == "alloca.h":
			yield "forbidden", f"{where}: alloca"
		elif kind == '"' and (target.startswith(".") or not room_of(target)):
			yield "root", f'{where}: "{target}" does not start at the root of the tree'
		elif kind == '"' and not may_include(path, target):
			yield "floors", f"{where}: {unit_of(path)} may not include {target}"


def check_file(tree, path):
	text = (tree / path).read_text(encoding="utf-8", errors="replace")
	yield from check_includes(path, text)
	first = "\n".join(text.split("\n")[:3])
	if SPDX not in first:
		yield "spdx", f"{path}:1: no line {SPDX}"
	code = blanked(text)
	for m in CALL.finditer(code):
		yield "forbidden", f"{path}:{code.count(chr(10), 0, m.start()) + 1}: {m[1]}()"
	lines = text.count("\n")
	if lines > LINES_MAX:
		yield "size", f"{path}: {lines} lines, at most {LINES_MAX}"
	if path.endswith(".c") and needs_header(path) and not has_header(tree / path):
		yield "pairs", f"{path}: no {path[:-1]}h beside it"


def needs_header(path):
	name = path.rsplit("/", 1)[1]
	if path.startswith("tests/"):
		return path.startswith("tests/lib/") and not name.endswith("_main.c")
	return name != "main.c"


def has_header(path):
	"""x.h, or for files that share internals, y_private.h where x is y or y_something."""
	if path.with_suffix(".h").exists():
		return True
	words = path.stem.split("_")
	return any(path.with_name("_".join(words[:n]) + "_private.h").exists() for n in range(1, len(words) + 1))


def sources(tree):
	return sorted(str(p.relative_to(tree)) for top in TOP for p in (tree / top).rglob("*.[ch]"))


def findings(tree):
	"""rule -> list of violations."""
	out = {rule: [] for rule in RULES}
	for path in sources(tree):
		for rule, text in check_file(tree, path):
			out[rule].append(text)
	return out


RULES = {
	"floors": "includes run downward only",
	"mfapi": "mfapi.h is seen by common/run alone",
	"root": "include paths start at the root",
	"pairs": "every x.c has its x.h",
	"spdx": "every file names its licence",
	"forbidden": "no unbounded or locale-dependent function",
	"size": f"no file over {LINES_MAX} lines",
}

HEAD = f"/* {SPDX} */\n"
PLANTED = [
	("floors", "common/base/x.h", HEAD + '#include "common/mail/addr.h"\n'),
	("floors", "common/mail/x.h", HEAD + '#include "common/net/dns.h"\n'),
	("floors", "common/run/x.h", HEAD + '#include "db/store.h"\n'),
	("floors", "common/run/x.h", HEAD + '#include "common/auth/spf.h"\n'),
	("floors", "db/x.h", HEAD + '  #  include "policy/settings.h"\n'),
	("floors", "policy/x.h", HEAD + '#include "milters/access/rules.h"\n'),
	("floors", "milters/access/x.h", HEAD + '#include "milters/greylist/verdict.h"\n'),
	("floors", "contrib/relay/x.h", HEAD + '#include "milters/access/rules.h"\n'),
	("floors", "contrib/relay/x.h", HEAD + '#include "tests/lib/sink.h"\n'),
	("mfapi", "milters/access/x.h", HEAD + "#include <libmilter/mfapi.h>\n"),
	("mfapi", "tests/unit/test_x.c", HEAD + "#include <libmilter/mfapi.h>\n"),
	("root", "db/x.h", HEAD + '#include "store.h"\n'),
	("root", "db/x.h", HEAD + '#include "../common/base/buf.h"\n'),
	("pairs", "db/x.c", HEAD),
	("spdx", "db/x.h", "/* x */\n"),
	("forbidden", "db/x.h", HEAD + "static inline void f(char *a){ strcpy (a, \"x\"); }\n"),
	("forbidden", "db/x.h", HEAD + "#include <ctype.h>\n"),
	("forbidden", "db/x.h", HEAD + "static inline int f(const char *a){ return atoi(a); }\n"),
	("size", "db/x.h", HEAD + "\n" * 900),
]
GOOD = [
	("common/run/x.h", HEAD + "#include <libmilter/mfapi.h>\n#include \"common/net/dns.h\"\n"),
	("policy/x.h", HEAD + '#include "db/map.h"\n#include "policy/x.h"\n'),
	("db/map_parse.c", HEAD),
	("contrib/ctl/main.c", HEAD + '#include "milters/access/rules.h"\n'),
	("tests/unit/test_x.c", HEAD + '/* strcpy(a, b); #include "x.h" */ const char *s = "atoi(1)";\n'),
	("db/x.h", HEAD + "int my_strcpy(int); int f(struct s *p); /* see p->alloca(1) */\n"),
]


def self_test(tap):
	for rule, path, text in PLANTED:
		with tempfile.TemporaryDirectory() as tmp:
			target = Path(tmp) / path
			target.parent.mkdir(parents=True)
			target.write_text(text)
			caught = [r for r, v in findings(Path(tmp)).items() if v]
			tap.equal(caught, [rule], f"planted: {rule}: {path}: {text.split(chr(10))[1] or 'long or bare file'}")
	for path, text in GOOD:
		with tempfile.TemporaryDirectory() as tmp:
			target = Path(tmp) / path
			target.parent.mkdir(parents=True)
			target.write_text(text)
			target.with_name("map_private.h").write_text(HEAD)
			found = [t for v in findings(Path(tmp)).values() for t in v]
			tap.equal(found, [], f"allowed: {path}")


def main():
	tap = Tap()
	tree = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
	self_test(tap)
	tap.ok(len(sources(tree)) > 0, "there is source to judge")
	for rule, found in findings(tree).items():
		tap.ok(not found, RULES[rule], "\n".join(found))
	tap.done()


if __name__ == "__main__":
	main()
