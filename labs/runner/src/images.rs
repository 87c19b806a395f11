//! Image names -> local programs. No image is pulled: a node is namespaces, and its program is what Debian or this
//! tree's own build put on the machine.

/// One image of the table.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// Name in the topology file (a `:tag` behind it is allowed and means nothing here).
    pub name: &'static str,
    /// Shell line of its program; `{bin}` is the folder of our own programs. `None`: a node that only forwards.
    pub program: Option<&'static str>,
    /// A file that must exist on the machine, and the Debian package that brings it.
    pub needs: Option<(&'static str, &'static str)>,
    /// The file that configures it, where there is one.
    pub config: Option<&'static str>,
    /// For people.
    pub what: &'static str,
}

/// Our BGP daemon's.
pub const BGPD: &str = "artere/bgpd";

/// Every image there is. What speaks BFD goes before others on the machine, where that is permitted, as ours does: an
/// operator's router has hardware for it, and its packets should be missing for a play's doing only. BIRD is nice and not
/// `chrt`: all of it is one program, which would keep a core to itself for a second when a table comes in.
pub const IMAGES: [Image; 8] = [
    Image { name: "linux", program: None, needs: None, config: None, what: "a bare node: kernel only" },
    Image { name: "host", program: None, needs: None, config: None, what: "a bare node: kernel only" },
    Image {
        name: BGPD,
        program: Some("exec {bin}/bgpd --config /etc/artere/bgpd.toml"),
        needs: None,
        config: Some("/etc/artere/bgpd.toml"),
        what: "our BGP daemon, configured by /etc/artere/bgpd.toml",
    },
    Image {
        name: "artere/ipamd",
        program: Some("exec {bin}/ipamd --config /etc/artere/ipamd.toml"),
        needs: None,
        config: Some("/etc/artere/ipamd.toml"),
        what: "our IPAM daemon, configured by /etc/artere/ipamd.toml",
    },
    Image {
        name: "artere/feeder",
        program: None,
        needs: None,
        config: None,
        what: "our table player `lab-feeder`; its sessions are its `cmd`",
    },
    Image {
        name: "bird",
        program: Some(
            "again=; [ ! -e /run/bird ] || again=-R; install -d /run/bird; chmod 755 /run/bird; \
             exec nice -n -10 /usr/sbin/bird -f $again -c /etc/bird/bird.conf -s /run/bird/bird.ctl",
        ),
        needs: Some(("/usr/sbin/bird", "bird2")),
        config: Some("/etc/bird/bird.conf"),
        what: "BIRD 2, configured by /etc/bird/bird.conf; a second start takes up where the first ended",
    },
    Image {
        name: "frr",
        program: Some(FRR),
        needs: Some(("/usr/lib/frr/bgpd", "frr")),
        config: Some("/etc/frr/frr.conf"),
        what: "FRR (zebra, staticd, bfdd, bgpd), configured by /etc/frr/frr.conf",
    },
    Image {
        name: "openbgpd",
        program: Some(
            "install -d -m 755 /run/openbgpd; install -m 600 /etc/openbgpd/bgpd.conf /run/openbgpd/bgpd.conf; \
             exec /usr/sbin/bgpd -d -f /run/openbgpd/bgpd.conf",
        ),
        needs: Some(("/usr/sbin/bgpctl", "openbgpd")),
        config: Some("/etc/openbgpd/bgpd.conf"),
        what: "OpenBGPD, configured by /etc/openbgpd/bgpd.conf (copied first: it refuses a file that others can read)",
    },
];

/// FRR is four processes and one configuration, which `vtysh -b` hands out. Zebra goes first, and the configuration
/// waits until bgpd is its client: a bgpd that misses zebra tries again only ten seconds later, and meanwhile refuses
/// IPv6 routes for want of an interface. The shell stays as the head of the process group and ends with the first of
/// them.
const FRR: &str = "install -d -o frr -g frr /run/frr; \
    until_true() { for i in $(seq 300); do \"$@\" && return; sleep 0.05; done; echo \"gave up waiting for: $*\"; exit 1; }; \
    client() { vtysh -d zebra -c 'show zebra client summary' 2>/dev/null | grep -q \"^$1 \"; }; \
    /usr/lib/frr/zebra -A 127.0.0.1 -s 90000000 --log stdout & \
    until_true [ -S /run/frr/zserv.api ]; until_true [ -S /run/frr/zebra.vty ]; \
    /usr/lib/frr/staticd -A 127.0.0.1 --log stdout & \
    $(chrt -f 1 true 2>/dev/null && echo chrt -f 10) /usr/lib/frr/bfdd -A 127.0.0.1 --log stdout & \
    /usr/lib/frr/bgpd -A 127.0.0.1 --log stdout & \
    for d in bgpd staticd bfdd; do until_true [ -S /run/frr/$d.vty ]; done; \
    for d in bgp static bfd; do until_true client $d; done; \
    vtysh -b || exit 1; wait -n; exit 1";

/// The row of an image name, its tag aside.
pub fn find(name: &str) -> Option<&'static Image> {
    let base = name.split_once(':').map_or(name, |(b, _)| b);
    IMAGES.iter().find(|i| i.name == base)
}
