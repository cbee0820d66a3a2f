#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""Our hits against SpamAssassin's own, message by message and rule by rule: recordings and
corpus lie in a folder `shared` beside this tree (SHARED names another), the rules come from
SpamAssassin's package.  Compared are rules whose value we know; the others are told.

	SCORE_STEP=25     every nth message (1: all)
"""
import collections
import os
import subprocess
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from peers import unpacked  # noqa: E402
from proc import BUILD, ROOT, Dir  # noqa: E402
from tap import Skip, Tap  # noqa: E402

STEP = int(os.environ.get("SCORE_STEP", "25"))
PAIRS_LEAST, HITS_LEAST = 99.97, 99.0     # per cent; what was reached when this was written


def shared():
	places = [os.environ["SHARED"]] if "SHARED" in os.environ else []
	for place in [*places, ROOT.parent / "shared", ROOT.parent.parent / "shared"]:
		if (Path(place) / "vectors/score/hits.tsv").exists():
			return Path(place)
	raise Skip("no recordings of SpamAssassin beside this tree (shared/vectors/score)")


def values(*texts):
	"""NAME or NAME=n, separated by commas."""
	out = {}
	for word in ",".join(texts).split(","):
		if word:
			name, _, value = word.partition("=")
			out[name] = float(value or 1)
	return out


def recordings(folder):
	out = {}
	with open(folder / "vectors/score/hits.tsv", encoding="utf-8") as f:
		for line in f:
			p = line.rstrip("\n").split("\t")
			if p[0] != "id":
				out[p[0]] = values(p[3], p[4])
	return out


def messages(folder, wanted, to):
	for archive in sorted((folder / "corpus").glob("*.tar.xz")):
		with tarfile.open(archive) as t:
			for member in t:
				name = Path(member.name).name
				if member.isfile() and name.removesuffix(".eml") in wanted:
					(to / name).write_bytes(t.extractfile(member).read())


def compare(out, truth):
	"""Counts [equal, different] of all pairs, of pairs with a hit by type; rules that differ."""
	rules, pairs, by_type, differ = {}, [0, 0], collections.defaultdict(lambda: [0, 0]), collections.Counter()
	for line in out.splitlines():
		if line.startswith("# rule "):
			name, kind, why = line[len("# rule "):].split("\t")
			if not why and kind not in ("eval", "empty"):
				rules[name] = kind
		if line.startswith("#"):
			continue
		p = line.split("\t")
		ours, theirs = values(p[2], p[3]), truth[Path(p[0]).stem]
		unknown = set(values(p[4]))
		for name, kind in rules.items():
			if name in unknown:
				continue
			a, b = ours.get(name, 0), theirs.get(name, 0)
			different = abs(a - b) > 1e-4 * max(1, abs(b))
			pairs[different] += 1
			if a or b:
				by_type[kind][different] += 1
				differ[name] += different
	return rules, pairs, by_type, differ


def percent(count):
	return 100 * count[0] / max(1, sum(count))


def main():
	tap = Tap()
	with tap.case("hits as SpamAssassin's"):
		folder = shared()
		tree = unpacked("spamassassin")
		truth = recordings(folder)
		chosen = set(sorted(truth)[::STEP])
		tmp = Dir()
		box = Path(str(tmp)) / "mail"
		box.mkdir()
		messages(folder, chosen, box)
		files = sorted(box.iterdir())
		assert files, "no message of the recordings is in the corpus"
		p = subprocess.run([BUILD / "posternctl", "test", "score", "-v", "-r", tree / "etc/spamassassin",
		    "-r", tree / "usr/share/spamassassin", *files], capture_output=True, check=False)
		assert p.returncode == 0 and p.stderr == b"", p.stderr.decode()[-2000:]
		rules, pairs, by_type, differ = compare(p.stdout.decode("utf-8", "replace"), truth)
		hits = [sum(c[0] for c in by_type.values()), sum(c[1] for c in by_type.values())]
		print(f"# {len(files)} messages, {len(rules)} rules that run; equal: {percent(pairs):.3f} % of {sum(pairs)} pairs, "
		    f"{percent(hits):.2f} % of {sum(hits)} with a hit")
		for kind, count in sorted(by_type.items()):
			print(f"#   {kind}: {percent(count):.2f} % of {sum(count)}")
		print("#   most different: " + ", ".join(f"{n} {k}" for n, k in differ.most_common(8) if k))
		assert len(rules) > 1500, len(rules)
		assert percent(pairs) >= PAIRS_LEAST, pairs
		assert percent(hits) >= HITS_LEAST, hits
	tap.done()


if __name__ == "__main__":
	main()
