#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The access map's engine against the real sendmail, on random maps.

	access_differential.py [SEED [ROUNDS]]

Each round draws a configuration (m4 features), six maps and 24 envelopes for each map; the
real program judges them by its own rulesets (sendmail -bt), ours by `posternctl test
access`.  They must agree on which check refuses, drops or holds, and on the words.  The
seed is printed; give it to see the same envelopes again.
"""
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import peers  # noqa: E402
from proc import BUILD, Dir, run  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

MAPS, ENVELOPES, ROUNDS = 6, 24, 50         # 300 maps, 7,200 envelopes
LOCAL = ["home.test", "mail.home.test", "virt.test"]
RELAY = ["relayed.test", "host.only.test", "198.51.100", "203.0.113.9", "IPv6:2001:db8:7", "[203.0.113.77]"]
# address, as sendmail shows it, confirmed name, resolution, records
CLIENTS = [
	("10.9.8.7", "10.9.8.7", "", "FAIL", ""),
	("10.1.2.3", "10.1.2.3", "pc.client.test", "OK", "3.2.1.10.in-addr.arpa"),
	("10.1.2.20", "10.1.2.20", "mta.big.client.test", "OK", "20.2.1.10.in-addr.arpa"),
	("127.0.0.1", "127.0.0.1", "localhost", "OK", ""),
	("10.8.1.1", "10.8.1.1", "", "FAIL", ""),
	("198.51.100.7", "198.51.100.7", "", "FAIL", ""),
	("10.1.2.4", "10.1.2.4", "", "FORGED", "4.2.1.10.in-addr.arpa"),
	("10.1.2.6", "10.1.2.6", "", "TEMP", "6.2.1.10.in-addr.arpa"),
	("2001:db8:7::1", "IPv6:2001:db8:7:0:0:0:0:1", "", "FAIL", ""),
	("172.16.5.5", "172.16.5.5", "pc.home.test", "OK", "5.5.16.172.in-addr.arpa"),
	("172.16.5.6", "172.16.5.6", "pc.relayed.test", "OK", "6.5.16.172.in-addr.arpa"),
	("10.20.30.40", "10.20.30.40", "d1.test", "OK", "40.30.20.10.in-addr.arpa"),
]
DOMAINS = ["d1.test", "h.d1.test", "g.h.d1.test", "d2.test", "home.test", "mail.home.test", "virt.test",
    "relayed.test", "x.relayed.test", "away.test", "sub.away.test", "mx.home.test", "localhost", "[10.2.3.4]",
    "[192.0.2.25]", "[IPv6:2001:db8::1]", "test", "D1.Test", "host", "d1.test.", "localhost.home.test",
    "x.home.test"]
USERS = ["a", "b", "a+x", "a+x+y", "A", "postmaster", "a.b", "a+", '"x"', '"q r"', "u", "v", "u+d", "a-b", "a_b",
    "a=b"]
ROUTED = USERS + ["x%d1.test", "d1.test!x", "x%a%b.test", '"a@d1.test"', '"a%d1.test"', "x%home.test", "a!b",
    "u%relayed.test", "u%away.test%home.test", "home.test!u"]
WORDS = ["OK", "RELAY", "REJECT", "DISCARD", "SKIP", "FRIEND", "HATER", "SPAMFRIEND", "ok", "relay"]
TEXTS = ["ERROR:5.7.1:550 no", "ERROR:550 no", "450 later", "ERROR:4.2.1:450 x", "550 5.1.1 nobody",
    "some words", 'ERROR:"550 a, b"', "OK extra", "QUARANTINE"]
HEADS = ["", "ERROR:", "ERROR:550 ", "ERROR:5.7.1:550 ", "ERROR:D.S.N:", "ERROR:5.1.1:", "550 ", "ERROR: "]
PIECES = ["go", "away", "please", ",", ";", ":", ".", "5.7.1", "550", "450", "(c)", "(a (b) c)", '"q, r"', '"q"',
    "a/b", "x@y", "50%", "%0", "%1", "%%", "[1.2]", "+", "=", "-", "!", "it's", "~", "#", "?", "&", "UPPER", "a.b",
    "a. b", "$x", "_", "*", "|", "{y}", "a\\b", ")", "\\,"]
FLAGS = [("blocklist_recipients", .8), ("accept_unqualified_senders", .2), ("relay_hosts_only", .15),
    ("relay_entire_domain", .15), ("relay_local_from", .1), ("loose_relay_check", .15), ("promiscuous_relay", .1)]

MC = """divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mx.home.test')dnl
define(`confCW_FILE', `@dir@/w')dnl
define(`confCR_FILE', `@dir@/R')dnl
define(`confSERVICE_SWITCH_FILE', `@dir@/switch')dnl
define(`confHOSTS_FILE', `@dir@/hosts')dnl
define(`QUEUE_DIR', `@dir@/q')dnl
define(`STATUS_FILE', `@dir@/st')dnl
define(`ALIAS_FILE', `')dnl
define(`confDONT_BLAME_SENDMAIL', `MapInUnsafeDirPath,ClassFileInUnsafeDirPath')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
FEATURE(`use_cw_file')dnl
@features@
MAILER(`local')dnl
MAILER(`smtp')dnl
LOCAL_CONFIG
Dmhome.test
Cwmx mx.home.test [192.0.2.25]
LOCAL_RULESETS
Sdorelay
R$*	$@ $>"check_relay" $&{client_name} $| $&{client_addr}
"""
# sendmail waits for a name with a dot, and looks into the host's own file for it
INSIDE = 'hostname mx.home.test && mount --bind "$1" /etc/hosts && shift && exec "$@"'


class Draw:
	"""All that is random."""
	def __init__(self, seed):
		self.r = random.Random(seed)

	def chance(self, p):
		return self.r.random() < p

	def features(self):
		args = [a for a, p in (("skip", .8), ("lookupdotdomain", .2), ("relaytofulladdress", .2)) if self.chance(p)]
		out = ["FEATURE(`access_db', `hash -T<TMPF> @dir@/access'" + "".join(f", `{a}'" for a in args) + ")",
		    "FEATURE(`accept_unresolvable_domains')"]
		out += [f"FEATURE(`{name}')" for name, p in FLAGS if self.chance(p)]
		out += self.r.choice([[]] * 8 + [["FEATURE(`relay_mail_from')"], ["FEATURE(`relay_mail_from', `domain')"]])
		out += self.r.choice([[]] * 10 + [["FEATURE(`nouucp', `reject')"], ["FEATURE(`nouucp', `nospecial')"]])
		out += self.r.choice([[]] * 9 + [["FEATURE(`nopercenthack', `reject')"]])
		delay = self.r.choice([[]] * 9 + [["FEATURE(`delay_checks')"]] * 4 +
		    [["FEATURE(`delay_checks', `friend')"]] * 3 + [["FEATURE(`delay_checks', `hater')"]] * 3 +
		    [["FEATURE(`delay_checks', `friend', `n')"]])
		if delay and self.chance(.3):
			delay.append("FEATURE(`block_bad_helo')")
		if self.chance(.1):
			out.append("define(`confREJECT_MSG', `\"550 5.7.1 Go away\"')")
		return out + delay, bool(delay)

	def client_key(self):
		addr = self.r.choice(CLIENTS)[1]
		sep = ":" if ":" in addr else "."
		parts = addr.split(sep)
		key = sep.join(parts[:self.r.randint(1, len(parts))])
		return key if self.chance(.8) else f"[{key}]"

	def key(self):
		tag = self.r.choice(["", "Connect:", "From:", "To:", "Spam:", "From:", "To:", "Connect:"])
		domain = self.r.choice([d for d in DOMAINS if not d.endswith(".")])
		user = self.r.choice(["a", "b", "u", "v", "a+x", "a+*", "u+*", "postmaster", "a.b", "x"])
		if tag == "Connect:" or self.chance(.12):
			return tag + self.r.choice([self.client_key(), self.client_key(), "client.test", "pc.client.test",
			    "big.client.test", "test", "home.test", "d1.test", "relayed.test", ".client.test"])
		return tag + self.r.choice([f"{user}@{domain}"] * 5 + [f"{user}@"] * 4 + [domain] * 6 + ["." + domain])

	def text(self):
		"""Never without a word: what a checked map may hold."""
		pieces = [self.r.choice(PIECES) + self.r.choice([" ", " ", "", "  "]) for _ in range(self.r.randint(0, 5))]
		return "word " + "".join(pieces) + "end"

	def value(self):
		if self.chance(.65):
			return self.r.choice(WORDS)
		if self.chance(.15):
			return "QUARANTINE:" + self.text()
		return self.r.choice(TEXTS) if self.chance(.4) else self.r.choice(HEADS) + self.text()

	def map(self):
		lines = {}
		for _ in range(self.r.randint(2, 14)):
			key = self.key()
			lines.setdefault(key.lower(), f"{key}\t{self.value()}")
		return "\n".join(lines.values()) + "\n"

	def address(self, routed=True):
		user, domain = self.r.choice(ROUTED if routed else USERS), self.r.choice(DOMAINS)
		return self.r.choice([f"<{user}@{domain}>"] * 17 + [f"<{user}>"] * 2 + [f"<@r.test:{user}@{domain}>"])

	def plain_sender(self):
		"""One that sendmail stores as it was typed, for checks that come after MAIL."""
		while True:
			a = self.address(False)
			if not re.search(r'"|@r\.test|localhost|\.>$|192\.0\.2\.25', a):
				return a

	def envelope(self, delayed):
		client = self.r.choice(CLIENTS)
		helo = self.r.choice(["helo.test", "foo", "home.test", "[10.9.8.7]", "[IPv6:2001:db8::1]"])
		return client, helo, self.plain_sender() if delayed else self.address(), self.address()


class Sendmail:
	"""The real program, its configuration made in dir."""
	def __init__(self, directory):
		tree = peers.unpacked("sendmail")
		self.dir = Path(os.fspath(directory))
		libs = ":".join(str(p) for p in (tree / "usr/lib").glob("*-linux-gnu*"))
		self.env = dict(os.environ, LD_LIBRARY_PATH=libs)
		self.cf_dir = tree / "usr/share/sendmail/cf"
		self.m4 = tree / "usr/bin/m4"
		# a copy, because the loader heeds no library path for a program that is set-gid
		self.program = Path(shutil.copy(tree / "usr/libexec/sendmail/sendmail", self.dir / "sendmail"))
		self.program.chmod(0o755)
		self.makemap = tree / "usr/libexec/sendmail/makemap"
		(self.dir / "q").mkdir()
		for name, text in (("w", "\n".join(LOCAL)), ("R", "\n".join(RELAY)), ("switch", "hosts files\naliases files"),
		    ("hosts", "127.0.0.1 localhost\n192.0.2.25 mx.home.test mx")):
			(self.dir / name).write_text(text + "\n")

	def call(self, argv, stdin):
		return subprocess.run([str(a) for a in argv], input=stdin.encode(), capture_output=True, env=self.env,
		    timeout=60, check=False)

	def configure(self, features):
		mc = MC.replace("@features@", "\n".join(features)).replace("@dir@", str(self.dir))
		(self.dir / "t.mc").write_text(mc)
		p = self.call([self.m4, f"-D_CF_DIR_={self.cf_dir}/", self.cf_dir / "m4/cf.m4", self.dir / "t.mc"], "")
		(self.dir / "t.cf").write_bytes(p.stdout)

	def judge(self, text, envelopes, delayed):
		"""For each envelope what the rulesets return, in their order."""
		(self.dir / "access.db").unlink(missing_ok=True)
		p = self.call([self.makemap, "-C", self.dir / "t.cf", "hash", self.dir / "access"], text)
		if p.returncode != 0:
			raise RuntimeError(f"makemap: {p.stderr.decode()}\n{text}")
		lines = []
		for client, helo, sender, rcpt in envelopes:
			name = client[2] or f"[{client[1]}]"
			lines += [f".D{{client_addr}}{client[1]}", f".D{{client_name}}{name}", f".D{{client_ptr}}{name}",
			    f".D{{client_resolve}}{client[3]}", f".Ds{helo}", f".Df{sender[1:-1]}"]
			lines += [] if delayed else ["dorelay x", f"check_mail {sender}"]
			lines.append(f"check_rcpt {rcpt}")
		p = self.call(["unshare", "-u", "-m", "sh", "-c", INSIDE, "sh", self.dir / "hosts", self.program, "-bt", "-C",
		    self.dir / "t.cf"], "\n".join(lines) + "\n")
		out = p.stdout.decode("latin-1")
		found = re.findall(r"^(?:> )*(?:dorelay|check_mail|check_rcpt)\s+returns: (.*)$", out, re.M)
		each = 1 if delayed else 3
		if len(found) != each * len(envelopes):
			raise RuntimeError(f"sendmail -bt: {len(found)} answers for {len(envelopes)} envelopes\n"
			    f"{out[-2000:]}{p.stderr.decode()}")
		return [found[i:i + each] for i in range(0, len(found), each)]


def squeeze(text):
	"""Without what rulesets still have and replies have no more, or not in the same places."""
	return re.sub(r'[\s"\\]', "", text)


def meaning(returned):
	"""A ruleset's result as (what, words)."""
	for what, rx in (("quarantine", r"\$# error \$@ quarantine \$:(.*)$"), ("discard", r"\$# discard()"),
	    ("reject", r"\$# error (?:\$@ [^$]*)?\$:(.*)$")):
		m = re.match(r"(?:@ )?" + rx, returned.strip())
		if m:
			return what, squeeze(m[1])
	return None


def expected(results, delayed):
	"""events and the words of the refusal, '' when there is none."""
	events, words = [], ""
	names = ["check_rcpt"] if delayed else ["check_relay", "check_mail", "check_rcpt"]
	for name, result in zip(names, results):
		m = meaning(result)
		if m is None:
			continue
		events.append(f"{name}:{m[0]}")
		if m[0] == "reject":
			words = m[1]
			break
	return ";".join(events), words


def write_world(directory, features):
	env = directory / "env"
	env.mkdir(parents=True, exist_ok=True)
	(directory / "maps").mkdir(exist_ok=True)
	dns = ["name\ttype\tvalue"]
	for addr, _, name, resolve, reverse in CLIENTS:
		if resolve == "TEMP":
			dns.append(f"{reverse}\tSERVFAIL\t")
		elif reverse:
			dns.append(f"{reverse}\tPTR\t{name or 'forged.client.test'}")
			dns.append(f"{name or 'forged.client.test'}\tA\t{addr if name else '10.99.99.99'}")
	(env / "dns.tsv").write_text("\n".join(dns) + "\n")
	(env / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n192.0.2.25 mx.home.test mx\n")
	w = " ".join(["localhost", "mx", "mx.home.test", "[192.0.2.25]", *LOCAL])
	(env / "classes.tsv").write_text(f"class\tmembers\nw\t{w}\nR\t{' '.join(RELAY)}\nm\thome.test\nj\tmx.home.test\n")
	m4 = " ".join(features).replace("\\", "\\\\")
	(env / "variants.tsv").write_text(f"variant\tdelay_checks\tm4\nv\t-\t{m4}\n")


def ours(directory, text, envelopes):
	(directory / "maps/m.access").write_text(text)
	rows = ["id\tvariant\taccess\tclient_addr\tclient_name\thelo\tmail_from\trcpt_to"]
	for i, (client, helo, sender, rcpt) in enumerate(envelopes):
		name = client[2] or f"[{client[1]}]"
		rows.append(f"{i}\tv\tmaps/m.access\t{client[0]}\t{name}\t{helo}\t{sender}\t{rcpt}")
	(directory / "cases.tsv").write_text("\n".join(rows) + "\n")
	status, out, err = run([BUILD / "posternctl", "test", "access", directory])
	if status != 0:
		raise RuntimeError(f"posternctl: {err}")
	return [[c.replace("\\\\", "\\") for c in line.split("\t")] for line in out.splitlines()[1:]]


def differences(sendmail, draw, directory):
	"""One configuration: (envelopes, [what differs])."""
	features, delayed = draw.features()
	sendmail.configure(features)
	write_world(directory, features)
	found = []
	for _ in range(MAPS):
		text = draw.map()
		envelopes = [draw.envelope(delayed) for _ in range(ENVELOPES)]
		theirs = sendmail.judge(text, envelopes, delayed)
		for e, results, row in zip(envelopes, theirs, ours(directory, text, envelopes)):
			events, words = expected(results, delayed)
			# id, stage, code, enhanced, text, action, resolve, quarantine, events
			same = row[8] == events and (not words or words.endswith(squeeze(row[4])))
			if not same:
				found.append(f"{' '.join(features)}\n{e}\nsendmail {results}\nours {row}\n{text}")
	return MAPS * ENVELOPES, found


def main():
	seed = sys.argv[1] if len(sys.argv) > 1 else str(int.from_bytes(os.urandom(4), "big"))
	rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
	tap = Tap()
	tmp = Dir()
	try:
		peers.namespaces()
		sendmail = Sendmail(tmp)
	except Skip as e:
		skip_all(str(e))
	print(f"# seed {seed}", flush=True)
	draw = Draw(seed)
	total = 0
	for i in range(rounds):
		n, found = differences(sendmail, draw, Path(os.fspath(tmp)) / "world")
		total += n
		tap.ok(not found, f"seed {seed}, configuration {i + 1}: {n} envelopes", "\n\n".join(found[:3]))
	tap.ok(total >= rounds * MAPS * ENVELOPES, f"{total} envelopes judged by both")
	tap.done()


if __name__ == "__main__":
	main()
