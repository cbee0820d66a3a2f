#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Messages that make scanners work, miss or stop: archives in archives, bombs, nests.

	hostile_mail.py DIR     writes NAME.eml for every name of MESSAGES

Everything is made when it is wanted, so no bomb lies in the tree.
"""
import base64
import binascii
import io
import struct
import sys
import zipfile
from pathlib import Path

# In two halves: this file is no virus.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
HEAD = b"From: a@outside.test\r\nTo: b@inside.test\r\nSubject: test\r\nMIME-Version: 1.0\r\n"


def zipped(members, deflate=True):
	out = io.BytesIO()
	with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as z:
		for name, data in members:
			z.writestr(zipfile.ZipInfo(name), data,
			    zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED)
	return out.getvalue()


def encrypted_zip(name, data=b"\x17" * 300):
	"""A member that only says that it is encrypted; nobody here has the password."""
	n = name.encode()
	common = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 0x5821, binascii.crc32(data), len(data),
	    len(data) - 12, len(n), 0)
	local = b"PK\3\4" + common + n + data
	central = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + n
	return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def b64(data):
	return base64.encodebytes(data).replace(b"\n", b"\r\n")


def uu(data, name=b"file.com"):
	lines = [binascii.b2a_uu(data[i:i + 45]).rstrip(b"\n") for i in range(0, len(data), 45)]
	return b"begin 644 " + name + b"\r\n" + b"\r\n".join(lines) + b"\r\n`\r\nend\r\n"


def attachment(data, name="a.bin", ctype="application/octet-stream", cte="base64"):
	body = b64(data) if cte == "base64" else data
	return (f'Content-Type: {ctype}; name="{name}"\r\nContent-Transfer-Encoding: {cte}\r\n'
	    f'Content-Disposition: attachment; filename="{name}"\r\n\r\n').encode() + body


def multipart(*parts, boundary=b"b1"):
	out = HEAD + b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n'
	for p in parts:
		out += b"--" + boundary + b"\r\n" + p + b"\r\n"
	return out + b"--" + boundary + b"--\r\n"


def text(body=b"hello\r\n"):
	return b"Content-Type: text/plain\r\n\r\n" + body


def nested(data, depth, name="z.zip", deflate=False):
	for _ in range(depth):
		data = zipped([(name, data)], deflate)
	return data


def zip_tree(width, depth, leaf):
	for _ in range(depth):
		leaf = zipped([(f"{i}.zip", leaf) for i in range(width)])
	return leaf


def in_message(inner, encoded=False):
	cte = b"base64" if encoded else b"7bit"
	return HEAD + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: " + cte + b"\r\n\r\n" + (
	    b64(inner) if encoded else inner)


def messages_in(n, inner):
	for _ in range(n):
		inner = in_message(inner, True)
	return inner


def multiparts_in(n):
	inner = text()
	for i in range(n):
		b = b"n%d" % i
		inner = b"Content-Type: multipart/mixed; boundary=" + b + b"\r\n\r\n--" + b + b"\r\n" + inner + (
		    b"\r\n--" + b + b"--\r\n")
	return HEAD + inner


def office():
	return zipped([(f"ppt/slides/slide{i}.xml", b"<x/>%d" % i) for i in range(300)] +
	    [(f"ppt/slides/_rels/slide{i}.xml.rels", b"<r/>%d" % i) for i in range(300)] +
	    [("example.com/", b"")])


MESSAGES = {
	"plain": lambda: HEAD + b"\r\nhello\r\n",
	"eicar": lambda: multipart(text(), attachment(EICAR)),
	"nested-zip-in-message": lambda: multipart(text(), b"Content-Type: message/rfc822\r\n\r\n" +
	    multipart(text(), attachment(nested(EICAR, 3), "x.zip"), boundary=b"b2")),
	"base64-message": lambda: multipart(text(), attachment(multipart(text(), attachment(EICAR),
	    boundary=b"b2"), "m.eml", "message/rfc822")),
	"base64-named-eml": lambda: multipart(text(), attachment(multipart(text(), attachment(EICAR),
	    boundary=b"b2"), "m.eml")),
	"uuencode": lambda: HEAD + b"\r\nlook:\r\n" + uu(EICAR),
	"uuencode-many": lambda: HEAD + b"\r\n" + uu(b"x") * 60,
	"same-zip-twice": lambda: multipart(*[attachment(zipped([("evil.exe", b"no virus"), ("b.txt", b"b")]),
	    f"{i}.zip") for i in range(2)]),
	"office": lambda: multipart(text(), attachment(office(), "talk.pptx")),
	"many-endings": lambda: multipart(text(), attachment(zipped([(f"a.{i:x}", b"%d" % i)
	    for i in range(400)]), "a.zip")),
	"encrypted": lambda: multipart(text(), attachment(encrypted_zip("evil.exe"), "e.zip")),
	"many-parts": lambda: multipart(*[text(b"%d" % i) for i in range(1500)]),
	"many-part-names": lambda: multipart(*[attachment(b"%d" % i, "n" * 900 + str(i)) for i in range(900)]),
	"deep-multiparts": lambda: multiparts_in(60),
	"deep-messages": lambda: messages_in(7, multipart(text(), attachment(EICAR))),
	"decoded-size": lambda: multipart(text(), attachment(b"\0" * 3_000_000)),
	"decoded-sum": lambda: multipart(*[attachment(b"%d" % i * 300_000) for i in range(8)]),
	"ratio-bomb": lambda: multipart(text(), attachment(zipped([("zero", b"\0" * 100_000_000)]), "r.zip")),
	"tree-bomb": lambda: multipart(text(), attachment(zip_tree(8, 5, zipped([("zero", b"\0" * 3_000_000)])),
	    "t.zip")),
	"deep-zip": lambda: multipart(text(), attachment(nested(EICAR * 9, 30, deflate=True),
	    "d.zip")),
	"many-members": lambda: multipart(text(), attachment(zipped([(f"{i}.txt", b"%d" % i)
	    for i in range(5000)]), "m.zip")),
	"truncated-zip": lambda: multipart(text(), attachment(zipped([("a.txt", EICAR * 50)])[:60], "t.zip")),
}


def main():
	out = Path(sys.argv[1])
	for name, make in MESSAGES.items():
		(out / f"{name}.eml").write_bytes(make())


if __name__ == "__main__":
	main()
