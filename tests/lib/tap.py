# SPDX-License-Identifier: BSD-2-Clause
"""A TAP writer.  One case is one `with` block: what it raises makes the row `not ok`.

	tap = Tap()
	with tap.case("mail passes"):
		assert reply.code == 250, reply
	tap.done()
"""
import sys
import traceback
from contextlib import contextmanager


class Skip(Exception):
	"""Raised in a case that cannot run here; its text is the reason."""


class Tap:
	def __init__(self, out=None):
		self.out = out or sys.stdout
		self.count = 0
		self.failed = 0

	def row(self, good, name, diag=""):
		self.count += 1
		self.failed += not good
		text = name.replace("#", "no.").replace("\n", " ")
		print(f"{'ok' if good else 'not ok'} {self.count} - {text}", file=self.out)
		for line in diag.splitlines():
			print("# " + line, file=self.out)
		self.out.flush()

	def ok(self, good, name, diag=""):
		self.row(bool(good), name, "" if good else diag)
		return bool(good)

	def equal(self, seen, wanted, name):
		return self.ok(seen == wanted, name, f"seen   {seen!r}\nwanted {wanted!r}")

	def skip(self, name, reason):
		self.count += 1
		reason = " ".join(reason.split())
		print(f"ok {self.count} - {name} # SKIP {reason}", file=self.out, flush=True)

	@contextmanager
	def case(self, name, diag=None):
		"""diag: called after a failure, returns text for it (logs)."""
		try:
			yield
		except Skip as e:
			self.skip(name, str(e))
		except Exception:
			text = traceback.format_exc()
			if diag is not None:
				try:
					text += diag()
				except Exception as e:
					text += f"(no further text: {e})"
			self.row(False, name, text)
		else:
			self.row(True, name)

	def done(self):
		"""Prints the plan and ends the process: 0 when every row was ok."""
		print(f"1..{self.count}", file=self.out, flush=True)
		sys.exit(1 if self.failed or not self.count else 0)


def skip_all(reason):
	"""The whole file cannot run here."""
	print("1..0 # SKIP " + " ".join(reason.split()), flush=True)
	sys.exit(0)
