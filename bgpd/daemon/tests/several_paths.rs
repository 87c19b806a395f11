//! Several paths to a destination (RFC 7911) and route-server clients (RFC 7947), with BIRD at every other end: judged by
//! BIRD's tables, and by what our own listings say of the identifiers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use api::bgpd::bgpd_client::BgpdClient;
use api::bgpd::list_routes_request::Table;
use api::bgpd::{ListRoutesRequest, Route};
use common::{Net, Process, can_run, holds, sh, within};
use daemonbase::grpc;

const LIMIT: Duration = Duration::from_secs(20);

/// One BIRD that is three neighbours, AS 64501 to 64503, each with a table of its own, at 203.0.113.2 to .4. It
/// has one session an address of ours, so we have three: .5 to .7.
fn net() -> Option<Net> {
    can_run(&["/usr/sbin/bird"]).then(|| {
        let net = Net::new();
        for n in 2..=4 {
            net.ip(&format!("addr add 203.0.113.{}/28 dev eth1", n + 3));
            sh(&format!("ip -n {} addr add 203.0.113.{n}/28 dev eth1", net.theirs));
        }
        net
    })
}

fn bird(net: &Net, routes: &str, channels: [&str; 3]) -> Process {
    let mut config = "router id 203.0.113.2;\nprotocol device {}\n".to_owned();
    for n in 1..=3 {
        config += &format!("ipv4 table t{n};\n");
    }
    config += routes;
    for (n, channel) in (1..).zip(channels) {
        config += &format!(
            "protocol bgp b{n} {{ local 203.0.113.{} as {}; neighbor 203.0.113.{} as 64500; enforce first as off;\n\
              connect retry time 1; connect delay time 1; error wait time 1,2; ipv4 {{ table t{n}; {channel} }}; }}\n",
            n + 1,
            64500 + n,
            n + 4
        );
    }
    net.bird(&config)
}

fn neighbors(relation: &str, keys: [&str; 3]) -> String {
    let one = |(n, keys): (u32, &str)| {
        format!(
            "[[neighbor]]\nname = \"n{n}\"\naddress = \"203.0.113.{}\"\nlocal_address = \"203.0.113.{}\"\nremote_as = {}\nrelation = \"{relation}\"\n\
             policy = \"accept-all\"\nfamilies = [\"ipv4-unicast\"]\nconnect_retry_time = 1\n{keys}",
            n + 1,
            n + 4,
            64500 + n
        )
    };
    (1..).zip(keys).map(one).collect()
}

/// The paths that a table of BIRD's holds to a prefix, as its `show route all` prints them.
fn paths(net: &Net, table: &str, prefix: &str) -> Vec<String> {
    let text = net.birdc(&format!("show route {prefix} table {table} all"));
    text.split(" [b").skip(1).map(str::to_owned).collect()
}

fn wait_for(net: &Net, table: &str, prefix: &str, wanted: &[&[&str]]) {
    within(LIMIT, &format!("{table}'s paths to {prefix}"), || {
        let there = paths(net, table, prefix);
        if there.len() != wanted.len() {
            return Err(format!("{there:#?}"));
        }
        let has = |needles: &&[&str]| there.iter().any(|path| needles.iter().all(|n| path.contains(n)));
        if wanted.iter().all(has) { Ok(()) } else { Err(format!("{there:#?}")) }
    });
}

/// Path Identifiers of our listing.
fn ids(net: &Net, table: Table, neighbor: &str, prefix: &str) -> Vec<Option<u32>> {
    let socket = format!("unix:{}", net.path("run/bgpd-read.sock").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let routes: Vec<Route> = runtime.block_on(async {
        let channel = grpc::connect("bgpd", &socket.parse().unwrap()).await.unwrap();
        let request = ListRoutesRequest {
            table: table.into(),
            neighbor: neighbor.into(),
            prefix: prefix.into(),
            all_paths: true,
            ..Default::default()
        };
        let mut stream = BgpdClient::new(channel).list_routes(request).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(route) = stream.message().await.unwrap() {
            all.push(route);
        }
        all
    });
    let mut ids: Vec<_> = routes.iter().map(|r| r.path_id).collect();
    ids.sort();
    ids
}

#[test]
fn rfc7911_several_paths_from_bird_and_to_it() {
    let Some(net) = net() else { return };
    // Neighbour 1 sends two paths to one prefix; 1 and 2 one each to another; 3 takes all there are.
    let routes = "
protocol static s1 { ipv4 { table t1; preference 110; }; route 198.51.0.0/16 blackhole { bgp_community.add((64501,1)); }; }
protocol static s2 { ipv4 { table t1; preference 120; }; route 198.51.0.0/16 blackhole { bgp_community.add((64501,2)); }; }
protocol static s3 { ipv4 { table t1; }; route 192.0.2.0/24 blackhole; }
protocol static s4 { ipv4 { table t2; }; route 192.0.2.0/24 blackhole; }
";
    let channels = [
        "import none; export all; add paths tx;",
        "import none; export all;",
        "import all; export none; add paths rx;",
    ];
    let _bird = bird(&net, routes, channels);
    let keys = ["add_path = { receive = true }\n", "", "add_path = { send = \"all\" }\n"];
    let _bgpd = net.bgpd(&neighbors("transit", keys));
    wait_for(&net, "t3", "198.51.0.0/16", &[&["(64501,1)"], &["(64501,2)"]]);
    wait_for(&net, "t3", "192.0.2.0/24", &[&["64500 64501"], &["64500 64502"]]);
    let received = ids(&net, Table::AdjRibIn, "n1", "198.51.0.0/16");
    assert!(matches!(received[..], [Some(a), Some(b)] if a != b), "{received:?}");
    assert_eq!(ids(&net, Table::AdjRibOut, "n3", "198.51.0.0/16"), [Some(1), Some(2)]);
    assert_eq!(ids(&net, Table::AdjRibOut, "n2", "198.51.0.0/16"), [None]);
    // One path goes, the other stands.
    net.birdc("disable s2");
    wait_for(&net, "t3", "198.51.0.0/16", &[&["(64501,1)"]]);
    net.birdc("disable b1");
    wait_for(&net, "t3", "198.51.0.0/16", &[]);
    wait_for(&net, "t3", "192.0.2.0/24", &[&["64500 64502"]]);
    // All of it again when it asks (RFC 2918, with the markers of RFC 7313).
    net.birdc("enable b1");
    wait_for(&net, "t3", "192.0.2.0/24", &[&["64500 64501"], &["64500 64502"]]);
    net.birdc("reload in b3");
    std::thread::sleep(Duration::from_secs(1));
    wait_for(&net, "t3", "192.0.2.0/24", &[&["64500 64501"], &["64500 64502"]]);
    holds(&net.birdc("show protocols b3"), &["Established"]).unwrap();
}

#[test]
fn rfc7947_a_route_servers_clients_hear_each_other_as_if_it_were_not_there() {
    let Some(net) = net() else { return };
    let routes = "
protocol static s1 { ipv4 { table t1; }; route 198.51.0.0/16 blackhole { bgp_community.add((64501,1)); }; }
protocol static s2 { ipv4 { table t2; }; route 198.51.0.0/16 blackhole { bgp_path.prepend(64510); bgp_path.prepend(64510); }; }
";
    // All members are one BIRD here, and it takes none of its own addresses for a gateway unless it looks it up.
    let _bird = bird(
        &net,
        routes,
        ["import all; gateway recursive; export filter { if source != RTS_STATIC then reject; bgp_med = 33; accept; };";
            3],
    );
    let _bgpd = net.bgpd(&neighbors("rs-client", ["", "", ""]));
    wait_for(&net, "t3", "198.51.0.0/16", &[&["as_path: 64501\n", "next_hop: 203.0.113.2\n", "med: 33", "(64501,1)"]]);
    // Neighbour 1's own path is the best of all; it is told the best of the others (RFC 7947 §2.3).
    within(LIMIT, "t1's path from the route server", || {
        holds(&net.birdc("show route table t1 all"), &["64502 64510 64510"])
    });
    net.birdc("disable s1");
    wait_for(&net, "t3", "198.51.0.0/16", &[&["as_path: 64502 64510 64510", "next_hop: 203.0.113.3\n"]]);
}
