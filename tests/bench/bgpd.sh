# Runs our bgpd under a black-box benchmark of BGP daemons. Run by sh, in the device's network namespace and an empty run
# directory, with one word: version | start | stop.
#
# Environment: RUN (the run directory), FIB (1: routes go into the kernel, and only what is installed is announced),
# DUT_AS, ROUTER_ID, HOLD; BGPD names another binary than target/release/bgpd. $RUN/peers has a line a session,
# tab-separated: name, role (feeder | sink | rrclient), family (4 | 6), our address, the peer's address, its AS.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BGPD=${BGPD:-$here/../../target/release/bgpd}
TAB=$(printf '\t')

# Everything is taken from everyone and told to all but the feeders; we only accept connections.
conf() {
	[ "$FIB" = 1 ] && fib=true || fib=false
	cat <<-C
	[bgp]
	local_as = $DUT_AS
	router_id = "$ROUTER_ID"
	listen = ["0.0.0.0", "::"]
	[daemon]
	run_dir = "$RUN/run"
	state_dir = "$RUN/state"
	log = "warn"
	[fib]
	enabled = $fib
	C
	while IFS=$TAB read -r name role fam ours peer asn; do
		case $role in
		feeder) what='relation = "transit"\nexport = false\npolicy = "accept-all"' ;;
		sink) what='relation = "customer"\nallowed_prefixes = ["0.0.0.0/0", "::/0"]\npolicy = "accept-all"' ;;
		rrclient) what='relation = "rr-client"' ;;
		esac
		printf '[[neighbor]]\nname = "%s"\naddress = "%s"\nlocal_address = "%s"\nremote_as = %s\n' "$name" "$peer" "$ours" "$asn"
		printf "$what\n"'families = ["ipv%s-unicast"]\npassive = true\nhold_time = %s\n' "$fam" "$HOLD"
		# No limit that a table could meet; the lowest router id wins a tie, as ever.
		printf 'max_prefix = { "ipv%s-unicast" = { limit = 4294967295 } }\n' "$fam"
	done <"$RUN/peers"
}

case $1 in
version) "$BGPD" --version ;;
start)
	conf >"$RUN/bgpd.toml"
	setsid "$BGPD" --config "$RUN/bgpd.toml" >>"$RUN/out" 2>&1 </dev/null &
	echo $! >"$RUN/pid"
	n=0
	until [ -S "$RUN/run/bgpd.sock" ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done
	[ -S "$RUN/run/bgpd.sock" ]
	;;
stop)
	[ -s "$RUN/pid" ] || exit 0
	pid=$(cat "$RUN/pid")
	kill "$pid" 2>/dev/null || exit 0
	n=0
	while kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
	kill -9 "$pid" 2>/dev/null || true
	;;
esac
