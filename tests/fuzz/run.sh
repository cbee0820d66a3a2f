#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# One fuzz target for a while: run.sh BUILD TARGET SECONDS
# Starts from tests/fuzz/seeds/TARGET, keeps what it learns in BUILD/corpus/TARGET and
# what broke in BUILD/artifacts/TARGET.  Exit status 0 only when nothing broke.
set -eu
[ $# = 3 ] || { echo "usage: run.sh BUILD TARGET SECONDS" >&2; exit 64; }
build=$1 target=$2 seconds=$3
here=$(dirname "$0")
corpus=$build/corpus/$target artifacts=$build/artifacts/$target
log=$build/fuzz/$target.log
mkdir -p "$corpus" "$artifacts"
seeds=
[ ! -d "$here/seeds/$target" ] || seeds=$here/seeds/$target
dict=
[ ! -f "$here/seeds/$target.dict" ] || dict=-dict=$here/seeds/$target.dict
if ! "$build/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -max_len=65536 -print_final_stats=1 -artifact_prefix="$artifacts/" $dict \
    "$corpus" $seeds >"$log" 2>&1; then
	tail -n 60 "$log" >&2
	echo "fuzz: $target FAILED; input kept in $artifacts, whole log in $log" >&2
	exit 1
fi
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
new=$(sed -n 's/^stat::new_units_added: *//p' "$log")
[ "${runs:-0}" -gt 0 ] || { echo "fuzz: $target ran no input" >&2; exit 1; }
echo "fuzz: $target: $runs inputs in $seconds s, $new new, nothing broke"
