#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Unpacks a real server for the tests, without installing it:
#
#	peers.sh postfix|sendmail|opendkim|redis|spamassassin|rspamd|clamav|stunnel|slapd
#
# prints the directory that holds its files (build/peers/NAME by default, PEERS_DIR names
# another parent).  Packages and those libraries of theirs that this host lacks come from
# the host's own Debian mirror by `apt-get download`; no maintainer script runs.  Where
# that is impossible: the reason on stderr, exit status 1 (the tests then say SKIP).
set -eu

name=${1:-}
case $name in
postfix) packages="postfix" ;;
sendmail) packages="sendmail-bin sendmail-base sendmail-cf m4" ;;
spamassassin) packages="spamassassin" ;; # for its rules: what it would need to run is left
opendkim) packages="opendkim opendkim-tools" ;;
rspamd) packages="rspamd" ;;
stunnel) packages="stunnel4" ;;
clamav) packages="clamav-daemon clamav-milter clamav-base" ;;
redis) packages="redis-server redis-tools" ;;
slapd) packages="slapd" ;;
*) echo "usage: peers.sh postfix|sendmail|opendkim|redis|spamassassin|rspamd|clamav|stunnel|slapd" >&2; exit 64 ;;
esac

root=$(cd "$(dirname "$0")/../.." && pwd)
parent=${PEERS_DIR:-$root/build/peers}
mkdir -p "$parent"
tree=$parent/$name
exec 9>"$parent/.$name.lock"
flock 9
if [ -e "$tree" ]; then
	echo "$tree"
	exit 0
fi

work=$(mktemp -d "$parent/.$name.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/deb" "$work/tree"

installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

download()
{
	(cd "$work/deb" && apt-get -qq download "$1") >"$work/log" 2>&1
}

# $1: package.  Then the libraries that it depends on and that are not here yet.
fetch()
{
	[ ! -e "$work/have.$1" ] || return 0
	: >"$work/have.$1"
	if ! download "$1" && ! { [ "$(id -u)" = 0 ] && apt-get -qq update >/dev/null 2>&1 && download "$1"; }; then
		echo "cannot download package $1: $(tail -n 1 "$work/log")" >&2
		exit 1
	fi
	deb=$(ls "$work/deb/$1"_*.deb)
	dpkg-deb -x "$deb" "$work/tree"
	[ "$name" != spamassassin ] || return 0
	for lib in $(dpkg-deb -f "$deb" Depends Pre-Depends |
	    sed 's/^[A-Za-z-]*: //; s/([^)]*)//g; s/|[^,]*//g; s/:any//g' | tr ',' ' '); do
		case $lib in
		libjs-*|lib*-perl) ;; # for browsers; no Perl is run
		lib*|lua-*) installed "$lib" || fetch "$lib" ;;
		esac
	done
}

for p in $packages; do
	fetch "$p"
done
# the host's /bin, /sbin and /lib are links into /usr: so is our tree's content
for d in bin sbin lib lib64; do
	if [ -d "$work/tree/$d" ]; then
		mkdir -p "$work/tree/usr/$d"
		cp -a "$work/tree/$d/." "$work/tree/usr/$d/"
		rm -rf "${work:?}/tree/$d"
	fi
done
chmod 755 "$work/tree"
mv "$work/tree" "$tree"
echo "$tree"
