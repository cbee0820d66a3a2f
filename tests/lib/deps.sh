#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Brings the Debian 12 packages that building and testing need, by apt-get, as root or
# through a sudo that does not ask.  Silent when nothing is missing.  Starts no service:
# a policy-rc.d forbids it for the time of the installation.
#
#	deps.sh          what `make`, `make demo` and `make check` need
#	deps.sh fuzz     that, and the compiler with libFuzzer
#	deps.sh --list   prints the names
#
# Mail servers are never among them: tests/lib/peers.sh unpacks those under build/.
set -u

need="gcc libc6-dev make pkg-config
	libxxhash-dev libc-ares-dev libpsl-dev publicsuffix liblmdb-dev libhiredis-dev libmilter-dev libevent-dev libseccomp-dev
	libclamav-dev libpcre2-dev libspf2-dev libyaml-dev libldap-dev
	check python3 openssl mandoc"
[ "${1:-}" = fuzz ] && need="$need clang-14 libclang-rt-14-dev llvm-14"
[ "${1:-}" = --list ] && { printf '%s\n' $need; exit 0; }

# As root: $2... are the names of the packages.  update only when the lists on this host
# do not know one of them, or know a version that the mirror no longer has.
install_as_root()
{
	policy=/usr/sbin/policy-rc.d
	tmp=$(mktemp -d) || exit 1
	made=
	trap '[ -z "$made" ] || rm -f "$policy"; rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	# 101: the action is forbidden.  An existing policy is the host's own: kept.
	(set -C; printf '#!/bin/sh\nexit 101\n' >"$policy") 2>"$tmp/policy" && made=1 &&
	    chmod 755 "$policy"
	[ -e "$policy" ] || { echo "deps: cannot write $policy, so services could start" >&2; exit 1; }
	export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
	get="apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install"
	if ! $get "$@" >"$tmp/out" 2>&1; then
		apt-get -qq update >"$tmp/update" 2>&1 || cat "$tmp/update" >&2
		$get "$@" >"$tmp/out" 2>&1 || { cat "$tmp/out" >&2; exit 1; }
	fi
}

if [ "${1:-}" = --as-root ]; then
	shift
	install_as_root "$@"
	exit 0
fi

if ! command -v dpkg-query >/dev/null; then
	echo "deps: this is no Debian system; please install what these Debian 12 packages hold:" >&2
	echo $need >&2
	exit 1
fi

# An unknown name is missing like one that is not installed.
missing_now()
{
	have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $need 2>/dev/null)
	missing=
	for p in $need; do
		case "
$have
" in
		*"
$p installed
"*) ;;
		*) missing="$missing $p" ;;
		esac
	done
}

missing_now
[ -n "$missing" ] || exit 0
echo "deps: missing:$missing"
if [ "$(id -u)" = 0 ]; then
	sh "$0" --as-root $missing
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	sudo -n sh "$0" --as-root $missing
else
	echo "deps: not root and no sudo without a password; please run as root:" >&2
	echo "  apt-get install --no-install-recommends$missing" >&2
	exit 1
fi
missing_now
[ -z "$missing" ] || { echo "deps: still missing:$missing" >&2; exit 1; }
echo "deps: installed"
