#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""posternctl greylist beside a postern-greylist that runs on the same store: what the milter
remembers is seen, found by name, changed and forgotten; written out and read in again; and
what other greylists wrote out lets their senders pass. On both engines, and in privacy mode."""
import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from proc import BUILD, ROOT, Dir, Proc, run  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap  # noqa: E402

CTL = BUILD / "posternctl"
DUMPS = ROOT / "tests/interop/greylist_dumps"
CONF = """
run {{ host gate.example; log stderr }}
dns {{ servers 127.0.0.1:9; timeout 100ms; deadline 100ms }}
state {{ {state} }}
greylist {{ socket "unix:{dir}/{name}.sock"; delay 300s; auto-whitelist 2 }}
"""
SECRET = "000102030405060708090a0b0c0d0e0f\n"
TRIPLE = ("--client", "192.0.2.7", "--from", "<Anna+x@Sender.example>", "--to", "bert@our.example")


class Site:
	def __init__(self, tap, tmp, name, state):
		self.tap, self.tmp, self.name = tap, tmp, name
		self.path = f"unix:{tmp}/{name}.sock"
		self.conf = tmp.write(f"{name}.conf", CONF.format(dir=tmp, name=name, state=state))
		self.proc = Proc([BUILD / "postern-greylist", "-f", "-c", self.conf], tmp / f"{name}.log")
		self.proc.wait_listen(self.path)

	def ctl(self, action, *args):
		"""(status, what it printed, errors)"""
		return run([CTL, "greylist", action, "-c", self.conf, *args])

	def entries(self, action="list", *args):
		status, out, err = self.ctl(action, "--json", *args)
		self.tap.ok(not err, f"{self.name}: {action} --json {' '.join(args)} says nothing on stderr", err)
		return json.loads(out)["entries"] if out else []

	def mail(self, sender="anna@sender.example", rcpt="bert@our.example", client="192.0.2.7"):
		"""Whether the milter let the recipient pass."""
		with Mta(self.path) as m:
			m.negotiate()
			m.macros("C", j="gate.example")
			m.connect(f"[{client}]", client)
			m.helo("helo.test")
			m.macros("M", i="Q1")
			m.mail(sender)
			if m.rcpt(rcpt) != [b"c"]:
				return False
			if sender:
				return True
			m.data()   # a null sender is judged behind the headers
			return m.eoh() == [b"c"]


def sees(site, hidden):
	tap, name = site.tap, site.name
	tap.equal(site.entries(), [], f"{name}: an empty store")
	tap.ok(not site.mail(), f"{name}: the first try waits")
	tap.ok(not site.mail("", "carl@our.example", "198.51.100.4"), f"{name}: a null sender waits")
	found = site.entries("show", *TRIPLE)
	tap.equal([(e["kind"], e["state"], e["tries"]) for e in found], [("triple", "waits", 1)],
	    f"{name}: show finds a triple by the names that a person knows")
	e = found[0]
	if hidden:
		tap.ok(all(re.fullmatch(r"#[\w-]{22}", e[k]) for k in ("client", "sender", "recipient")),
		    f"{name}: names are hashes", str(e))
	else:
		tap.equal((e["client"], e["sender"], e["recipient"]),
		    ("network:192.0.2.0/24", "anna@sender.example", "bert@our.example"), f"{name}: names are clear")
	tap.ok(e["passes"] == e["first"] + 300 and abs(e["first"] - time.time()) < 60, f"{name}: when it may pass")
	status, out, _ = site.ctl("show", *TRIPLE)
	tap.ok(status == 0 and "state      waits" in out and "tries      1" in out, f"{name}: show for people", out)
	tap.equal(len(site.entries()), 2, f"{name}: list gives both")
	tap.equal(len(site.entries("list", "--from", "<>")), 1, f"{name}: list --from <>")
	tap.equal(len(site.entries("list", "--to", "bert@our.example")), 1, f"{name}: list --to")
	tap.equal(len(site.entries("list", "--client", "192.0.2.0/24")), 1, f"{name}: list --client NETWORK")
	tap.equal(len(site.entries("list", "--kind", "client")), 0, f"{name}: list --kind")
	status, out, _ = site.ctl("list")
	tap.ok(status == 0 and len(out.splitlines()) == 3 and out.startswith("KIND\tSTATE\t"), f"{name}: list for people", out)
	tap.equal(site.ctl("show", "--client", "203.0.113.1")[0], 1, f"{name}: show of nothing is told by the status")


def passes(site):
	tap, name = site.tap, site.name
	tap.equal(site.ctl("pass", *TRIPLE)[:2], (0, "1 triples are known\n"), f"{name}: pass")
	tap.ok(site.mail(), f"{name}: the triple passes at once")
	tap.ok(not site.mail("other@sender.example"), f"{name}: and no other")
	tap.equal(site.ctl("pass", "--to", "carl@our.example")[:2], (0, "1 triples are known\n"),
	    f"{name}: pass of all that wait for a recipient")
	tap.ok(site.mail("", "carl@our.example", "198.51.100.4"), f"{name}: that one passes")
	tap.equal(site.ctl("pass", "--client", "192.0.2.7")[:2], (0, "1 clients are whitelisted\n"),
	    f"{name}: pass of a client")
	tap.ok(site.mail("third@sender.example"), f"{name}: all its mail passes")
	status, out, _ = site.ctl("trap", "192.0.2.9")
	tap.equal((status, out), (0, "192.0.2.0/24: trapped\n"), f"{name}: trap")
	tap.ok(not site.mail("fourth@sender.example"), f"{name}: its network is refused")
	tap.equal([e["state"] for e in site.entries("list", "--kind", "event")], ["blocked"], f"{name}: the event is seen")
	tap.equal(site.ctl("trap", "--undo", "192.0.2.0/24")[:2], (0, "192.0.2.0/24: no trap any more\n"),
	    f"{name}: trap --undo")
	tap.equal(site.ctl("trap", "--undo", "192.0.2.0/24")[0], 1, f"{name}: only once")
	data = json.loads(site.ctl("stats", "--json")[1])
	tap.ok(data["triples_known"] == 2 and data["triples_pending"] >= 1 and data["events_trap"] == 0, f"{name}: stats",
	    str(data))


def moves(site):
	"""Export, delete, import: all is as before."""
	tap, name = site.tap, site.name
	status, table, err = site.ctl("export")
	tap.ok(status == 0 and not err and table.startswith("kind\tclient\t"), f"{name}: export", err)
	path = site.tmp.write(f"{name}.tsv", table)
	tap.equal(site.ctl("delete", "--dry-run", "--client", "192.0.2.7")[0], 0, f"{name}: delete --dry-run")
	tap.equal(sorted(site.ctl("export")[1].splitlines()), sorted(table.splitlines()), f"{name}: changes nothing")
	for e in site.entries():
		site.ctl("delete", "--client", e["client"])
	tap.equal(site.entries(), [], f"{name}: delete")
	tap.ok(not site.mail(), f"{name}: what was deleted waits again")
	site.ctl("delete", "--client", "192.0.2.7")
	n = len(table.splitlines()) - 1
	tap.equal(site.ctl("import", "--dry-run", path)[:2], (0, f"{n} would be entered, 0 over, 0 skipped\n"),
	    f"{name}: import --dry-run")
	tap.equal(site.entries(), [], f"{name}: enters nothing")
	tap.equal(site.ctl("import", path)[:2], (0, f"{n} entered, 0 over, 0 skipped\n"), f"{name}: import")
	def close(text):
		# redis says when a triple ends to about a second
		return sorted(re.sub(r"\d\t?$", "", line) for line in text.splitlines())
	tap.equal(len(close(site.ctl("export")[1])), len(close(table)), f"{name}: as many as before")
	tap.ok(site.mail(), f"{name}: the triple passes as before")


def foreign(site):
	"""Dumps of others, with times of today."""
	tap, name, now = site.tap, site.name, int(time.time())
	times = {"PASSES": now - 1, "LATER": now + 864000, "NOW": now - 60, "PAST": now - 5000}

	def dump(file):
		text = re.sub("@([A-Z]+)@", lambda m: str(times[m[1]]), (DUMPS / file).read_text())
		return site.tmp.write(f"{name}-{file}", text)

	def fresh():
		for e in site.entries():
			site.ctl("delete", "--client", e["client"])

	for form, file, told in (
		("milter-greylist", "milter-greylist.db", "3 entered, 1 over, 1 skipped\n"),
		("postgrey", "postgrey.txt", "3 entered, 0 over, 0 skipped\n"),
		("spamdb", "spamdb.txt", "3 entered, 0 over, 1 skipped\n"),
	):
		fresh()
		status, out, err = site.ctl("import", "--from", form, dump(file))
		tap.equal((status, out), (0, told), f"{name}: import --from {form}", )
		if form == "spamdb":
			tap.ok(re.match(r"\S+spamdb\.txt:4: a trap is a setting", err), f"{name}: a trap address is told", err)
			tap.ok(site.mail("x@y.example", client="203.0.113.9"), f"{name}: WHITE passes")
			tap.ok(not site.mail("x@y.example", client="198.51.100.4"), f"{name}: TRAPPED is refused")
		elif form == "postgrey":
			tap.ok(site.mail(), f"{name}: known to postgrey passes")
			tap.ok(not site.mail("", client="198.51.100.4"), f"{name}: tried once at postgrey waits")
		else:
			tap.ok(site.mail(), f"{name}: what milter-greylist would accept now passes")
			tap.ok(site.mail("news+43@list.example", "carl@our.example", "203.0.113.9"), f"{name}: AUTO passes")
	fresh()
	path = dump("broken.txt")
	status, out, err = site.ctl("import", "--from", "spamdb", path)
	tap.equal((status, out), (65, ""), f"{name}: a broken file is refused")
	tap.equal([line.split(": ")[0] for line in err.splitlines()], [f"{path}:2", f"{path}:3"],
	    f"{name}: with file and line")
	tap.equal(site.entries(), [], f"{name}: and nothing of it is entered")


def usage(tap, tmp):
	conf = tmp.write("usage.conf", f"state {{ path {tmp}/usage; }}\n")
	for args, why in (
		((), "list, show"),
		(("lits",), "list, show"),
		(("show",), "--client, --from or --to"),
		(("delete",), "--client, --from or --to"),
		(("pass",), "--client, --from or --to"),
		(("trap",), "an IP address or a network"),
		(("trap", "x"), "an IP address or a network"),
		(("trap", "192.0.2.0/23"), "/24 or /64"),
		(("trap", "192.0.2.1", "--for", "x"), "a duration"),
		(("list", "x"), "no such argument"),
		(("list", "--kind", "x"), "triple, client or event"),
		(("list", "--client", "a@b"), "expected an IP address, a network, a domain"),
		(("import",), "a file"),
		(("import", "--from", "x", "y"), "milter-greylist, postgrey or spamdb"),
	):
		status, out, err = run([CTL, "greylist", *args, "-c", conf])
		tap.ok(status == 64 and why in err and not out, "refused: greylist " + " ".join(args), err)
	tap.equal(run([CTL, "greylist", "import", "-c", conf, tmp / "none"])[0], 66, "import: no such file")
	away = tmp.write("away.conf", f'state {{ engine redis; redis "unix:{tmp}/no.sock" }}\n')
	status, out, err = run([CTL, "greylist", "stats", "-c", away])
	tap.ok(status == 75 and "down" in err, "a store that is away", err)
	zero = tmp.write("zero.conf", f"state {{ path {tmp}/usage; }}\ngreylist {{ auto-whitelist 0; }}\n")
	tap.equal(run([CTL, "greylist", "pass", "-c", zero, "--client", "a.example"])[0], 78,
	    "pass: where no client is ever whitelisted")


def main():
	tap = Tap()
	tmp = Dir()
	secret = tmp.write("secret", SECRET)
	secret.chmod(0o600)
	states = [("embedded", f"path {tmp}/state", False),
	    ("privacy", f"path {tmp}/hidden; secret-file {secret}", True)]
	redis = None
	try:
		redis = Redis(tmp).start()
		states.append(("redis", f'engine redis; redis "unix:{redis.socket}"; deadline 5s', False))
	except Skip as why:
		tap.skip("on Redis", str(why))
	for name, state, hidden in states:
		site = Site(tap, tmp, name, state)
		sees(site, hidden)
		passes(site)
		moves(site)
		foreign(site)
		site.proc.stop()
	usage(tap, tmp)
	if redis is not None:
		redis.proc.stop()
	tap.done()


if __name__ == "__main__":
	main()
