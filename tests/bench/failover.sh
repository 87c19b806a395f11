#!/bin/bash
# Our bgpd as the router under test of a black-box failover bench: it loses one of two upstreams under a stream of packets.
# Run by bash with one word: start | stop | state | version.
#
# Environment: NS (network namespace of the router), RUN (scratch directory), MODE (backup: the first upstream is preferred;
# ecmp: both are used), BFD_MS (interval of single-hop BFD, times 3; 0: none), GR (1: keep the routes of an upstream that
# restarts), HOLD (hold time), N (routes that will come); BGPD and NOC name other binaries than those of target/release.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BGPD=${BGPD:-$here/../../target/release/bgpd}
NOC=${NOC:-$(dirname "$BGPD")/noc}

# The upstreams send whatever table the bench has made, so there is no filter and no limit; they are told nothing.
conf() {
	cat <<-C
	[bgp]
	local_as = 65000
	router_id = "10.0.0.1"
	listen = ["0.0.0.0"]
	C
	[ "$MODE" = backup ] || echo 'multipath = { ebgp = 4, relax_as_path = true }'
	cat <<-C
	[daemon]
	run_dir = "$RUN/run"
	state_dir = "$RUN/state"
	log = "info"
	[fib]
	enabled = true
	C
	for i in 1 2; do
		cat <<-C
		[[neighbor]]
		name = "u$i"
		address = "10.2.$i.2"
		local_address = "10.2.$i.1"
		remote_as = 6510$i
		relation = "transit"
		families = ["ipv4-unicast"]
		policy = "accept-all"
		export = false
		hold_time = $HOLD
		connect_retry_time = 1
		gr_helper = $([ "$GR" = 1 ] && echo true || echo false)
		max_prefix = { "ipv4-unicast" = { limit = 4294967295 } }
		C
		[ "$MODE" = ecmp ] || echo "local_pref = $((300 - 100 * i))"
		[ "$BFD_MS" = 0 ] || echo "bfd = { interval = $BFD_MS, multiplier = 3 }"
	done
}

case $1 in
version) "$BGPD" --version ;;
start)
	conf >"$RUN/bgpd.toml"
	# `ip netns exec` becomes the daemon, so this is its number.
	ip netns exec "$NS" "$BGPD" --config "$RUN/bgpd.toml" >>"$RUN/out" 2>&1 </dev/null &
	echo $! >"$RUN/pids"
	;;
stop)
	[ -s "$RUN/pids" ] || exit 0
	pid=$(cat "$RUN/pids")
	kill "$pid" 2>/dev/null || exit 0
	n=0
	while kill -0 "$pid" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
	kill -9 "$pid" 2>/dev/null || true
	;;
state)
	ip -n "$NS" nexthop show
	[ ! -x "$NOC" ] || NOC_BGPD=unix:$RUN/run/bgpd.sock "$NOC" show neighbors
	;;
*)
	echo "usage: failover.sh start|stop|state|version" >&2
	exit 2
	;;
esac
