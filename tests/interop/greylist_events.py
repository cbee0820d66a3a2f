#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 180
"""What one daemon finds out about a client, all hosts' greylisting knows: a virus, mail to a
trap and spam take the whitelisting away and block the network for a time.  Without a store
the other daemons go on."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import hostile_mail as hostile  # noqa: E402
from milter_host import MilterHost  # noqa: E402
from proc import ROOT, Dir, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
VIRUS_HEAD, _, VIRUS_BODY = hostile.multipart(hostile.text(),
    hostile.attachment(hostile.EICAR)).decode("latin-1").partition("\r\n\r\n")
VIRUS = tuple(tuple(f.split(": ", 1)) for f in VIRUS_HEAD.replace("\r\n\t", " ").replace("\r\n ", " ").split("\r\n"))


MORE = """
list "traps" { address trap@local.test; domain old.test }
policy "traps" { recipient in traps; greylist.trap on }
policy "watched" { recipient domain watched.test; mode observe }
policy "forgiving" { recipient forgiving@local.test; greylist.block 0 }
policy "stern" { recipient stern@local.test; greylist.block-action reject }
policy "open" { recipient open@local.test; greylist.when never }
"""
BLOCKED = b"451 4.7.1 Mail from your network is not accepted because of recent"


def mime(tmp):
	for d in ("tmp", "signatures", "quarantine"):
		(tmp / d).mkdir(exist_ok=True)
	(tmp / "signatures/test.ndb").write_text((ROOT / "tests/vectors/mime/postern-test.ndb").read_text())
	return f'signatures "{tmp}/signatures"; tmp "{tmp}/tmp"; quarantine "{tmp}/quarantine"; workers 1'


def score(tmp):
	return f'tmp "{tmp}"; workers 1; rules "{ROOT}/policy/rules"'


def refused(r):
	"""r, where the client is blocked."""
	return r if r.deferred(BLOCKED) else None


def whitelisted(host, client):
	"""Makes the client one."""
	host.mail("w@b.test", "w@local.test", client=client)
	wait_for("its retry passes", lambda: host.mail("w@b.test", "w@local.test", client=client).passed())
	r = host.mail("other@b.test", "w@local.test", client=client)
	assert r.passed() and "auto-whitelisted" in r.header("X-Greylist"), r


def main():
	tap = Tap()
	tmp = Dir()
	try:
		redis = Redis(tmp).start()
	except Skip as e:
		skip_all(str(e))
	state = f'engine redis; redis "unix:{redis.socket}"'
	grey = "delay 1s; auto-whitelist 1; block 1h; block-spam 2"
	a = MilterHost(tmp, "a", {"greylist": grey}, state, MORE)
	b = MilterHost(tmp, "b", {"greylist": grey, "score": score(tmp), "mime": mime(tmp)}, state, MORE)
	b.log("mime", "signatures from", 30)

	def text():
		return a.text() + b.text()

	with tap.case("a virus at B takes the whitelisting at A away, and blocks for the time", text):
		whitelisted(a, "192.0.2.1")
		r = b.mail("v@b.test", "v@local.test", client="192.0.2.77", only="mime", headers=VIRUS, body=VIRUS_BODY)
		assert r.final().startswith(b"y550 5.7.1"), r
		r = wait_for("A refuses what is from there", lambda: refused(a.mail("new@b.test", "v@local.test")))
		assert r.deferred(BLOCKED) and 3500 < r.wait() <= 3600, r
		a.log("greylist", r"action=tempfail .*to=<v@local\.test> why=virus .*wait=3[56]\d\d")
		# where it is not blocked, it has to wait like anybody
		r = a.mail("new@b.test", "forgiving@local.test")
		assert r.deferred() and r.wait() == 1, r
		assert a.mail("new@b.test", "stern@local.test").final().startswith(b"y550 5.7.1"), r
		assert a.mail("new@b.test", "open@local.test").passed()
	with tap.case("mail to a trap at A is answered like any other, then the network is blocked at both", text):
		whitelisted(b, "203.0.113.1")
		r = a.mail("t@b.test", "honest@local.test", "trap@local.test", client="203.0.113.2")
		assert r.rcpts[0] == [b"c"] or r.rcpts[0] == r.rcpts[1], r
		assert r.rcpts[1][0].startswith(b"y451 4.7.1 Greylisted: please try again in 1 seconds"), r
		for host in (a, b):
			r = wait_for("it is blocked", lambda: refused(host.mail("x@b.test", "y@local.test", "trap@local.test", client="203.0.113.3")))
			assert r.rcpts[0][0][1:].startswith(BLOCKED) and r.rcpts[1][0][1:].startswith(BLOCKED), r
			host.log("greylist", r"client=203\.0\.113\.3 .*why=trap")
		r = b.mail("new@b.test", "forgiving@local.test", client="203.0.113.1")
		assert r.deferred() and r.wait() == 1, r
	with tap.case("a domain of traps; a bounce, our users and watching catch nobody", text):
		assert a.mail("t@b.test", "x@old.test", client="198.18.0.1").deferred()
		wait_for("it is blocked", lambda: refused(a.mail("t@b.test", "y@local.test", client="198.18.0.2")))
		a.mail("", "trap@local.test", client="198.18.1.1")
		a.mail("me@local.test", "trap@local.test", client="198.18.1.1", auth="me")
		for _ in range(3):
			r = a.mail("t@b.test", "y@local.test", client="198.18.1.1")
			assert r.deferred() and r.wait() <= 1, r
	with tap.case("refused spam blocks from the second on, but nobody whose name is known", text):
		for n in range(2):
			r = b.mail(f"spam{n}@b.test", "s@local.test", client="198.18.3.1", only="score", headers=VIRUS[:2], body=GTUBE + "\r\n")
			assert r.final().startswith(b"y550 5.7.1"), r
		r = wait_for("it is blocked", lambda: refused(a.mail("z@b.test", "y@local.test", client="198.18.3.9")))
		a.log("greylist", r"client=198\.18\.3\.9 .*why=spam")
		r = a.mail("z@b.test", "y@local.test", client="198.18.3.9", name="mx.provider.example")
		assert r.deferred() and not r.deferred(BLOCKED), r
	with tap.case("a new triple of a blocked client is no record: it waits in full afterwards", text):
		redis.cli("FLUSHALL")
		r = a.mail("z@b.test", "y@local.test", client="198.18.3.9")
		assert r.deferred() and r.wait() == 1 and not r.deferred(BLOCKED), r
	with tap.case("a virus of our own users, or one that is only watched, tells nobody", text):
		whitelisted(a, "198.51.100.1")
		for kind in ({"auth": "u"}, {"client": "127.0.0.1"}):
			r = b.mail("v@b.test", "v@local.test", **{"client": "198.51.100.7", **kind}, only="mime",
			    headers=VIRUS, body=VIRUS_BODY)
			assert r.final().startswith(b"y550 5.7.1"), r
		r = b.mail("v@b.test", "v@watched.test", client="198.51.100.7", only="mime", headers=VIRUS, body=VIRUS_BODY)
		assert r.passed(), r
		r = a.mail("new@b.test", "v@local.test", client="198.51.100.1")
		assert r.passed() and "auto-whitelisted" in r.header("X-Greylist"), r
	with tap.case("without the store viruses and spam are refused as before", text):
		redis.kill()
		for only, headers, body in (("mime", VIRUS, VIRUS_BODY), ("score", VIRUS[:2], GTUBE + "\r\n")):
			r = b.mail("v@b.test", "v@local.test", only=only, headers=headers, body=body)
			assert r.final().startswith(b"y550 5.7.1"), r
			r = b.mail("v@b.test", "v@local.test", only=only)
			assert r.passed() and r.ms["eom"] < 5000, r
		redis.start()
	with tap.case("they end in order", text):
		assert a.stop() == [0] and b.stop() == [0, 0, 0]
	tap.done()


if __name__ == "__main__":
	main()
