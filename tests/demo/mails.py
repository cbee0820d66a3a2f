# SPDX-License-Identifier: BSD-2-Clause
"""What the rows of the demo send, and the reply that counts."""


def message(msgid, subject="demo", body="Hello.\r\n", sender="alice@sender.example", to="ann@local.example"):
	return (f"From: Alice <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nMessage-ID: <{msgid}>\r\n"
	    f"Date: Mon, 16 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n\r\n{body}").encode()


def decided(replies):
	"""The reply that settled it for the sender."""
	for key in ("connect", "mail"):
		if key in replies and replies[key].code >= 400:
			return replies[key]
	return replies.get("data") or replies["rcpt"][-1]
