# SPDX-License-Identifier: BSD-2-Clause
"""The demo's rows about who waits and who does not: pools, suspicious mail, traps.  Mixed into
Demo, which sends and judges."""
import time

from content_rows import SEVEN_POINTS
from mails import decided, message
from postern import unique
from proc import wait_for

DELAY = 2                   # seconds, as greylist.delay in etc/postern.conf
FIRST, OTHER = "198.18.1.5", "198.19.77.200"     # two hosts of a pool, in networks of their own
CATCHER = ("198.18.50.1", "deals@offers.example", "old.address@local.example")


class GreylistRows:
	def pool(self):
		mail = ("news@pool.example", "ann@local.example")
		first = unique()
		r = self.send(FIRST, *mail, message(first))
		begin = time.monotonic()
		self.row("a pool's first mail", (451, "4.7.1"), decided(r), first)
		wait_for("the greylist delay", lambda: time.monotonic() - begin > DELAY + 0.2)
		r = self.send(OTHER, *mail, message(first))
		self.row("its retry by another host: SPF", (250, ""), decided(r), first, "Maildir")

	def suspicious(self):
		careful = ("192.0.2.44", "login@bank.example", "careful@local.example")
		code = unique()
		r = self.send(*careful, message(code, "Your login code is 123456"))
		self.row("only what is suspicious waits: clean", (250, ""), decided(r), code, "Maildir")
		bad = unique()
		r = self.send(*careful, message(bad, "hello", SEVEN_POINTS))
		begin = time.monotonic()
		self.row("... with 7 points", (451, "4.7.1"), decided(r), bad)
		wait_for("the greylist delay", lambda: time.monotonic() - begin > DELAY + 0.2)
		r = self.send(*careful, message(bad, "hello", SEVEN_POINTS))
		self.row("... sent again later", (250, ""), decided(r), bad, "Maildir")

	def trap(self):
		caught = unique()
		r = self.send(*CATCHER, message(caught))
		self.row("to an address that is a trap", (451, "Greylisted"), decided(r), caught)
		neighbour = unique()
		r = self.send("198.18.50.2", "offers@offers.example", "ann@local.example", message(neighbour))
		self.row("from there to anybody, afterwards", (451, "because of recent abuse"), decided(r), neighbour)
