//! How `noc` renders what a bgpd answers, and with which exit code. The server here is not a bgpd and tests none: it
//! answers fixed messages, so that this file speaks of the client alone. The system tests run noc against bgpd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod support;

use api::bgpd::bgpd_control_server::{BgpdControl, BgpdControlServer};
use api::bgpd::bgpd_server::{Bgpd, BgpdServer};
use api::bgpd::*;
use daemonbase::grpc::{Address, Listener};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use support::*;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;
type Rows<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How many routes the fixed table has.
const TABLE: u32 = 300_000;

struct Fixed;

fn route(n: u32) -> Route {
    Route {
        prefix: format!("2001:db8:{n:x}::/48"),
        neighbor: "transit-a".into(),
        next_hop: "2001:db8:ffff::1".into(),
        as_path: "64501 64510".into(),
        origin: "igp".into(),
        local_pref: Some(100),
        best: true,
        accepted: true,
        age_seconds: 3723,
        ..Default::default()
    }
}

fn neighbor() -> Neighbor {
    Neighbor {
        name: "transit-a".into(),
        address: "192.0.2.1".into(),
        remote_as: 64501,
        relation: "transit".into(),
        state: "Established".into(),
        state_seconds: 90_061,
        families: vec![NeighborFamily {
            family: "ipv4-unicast".into(),
            received: 20,
            accepted: 19,
            sent: 2,
            ..Default::default()
        }],
        enabled: true,
        ..Default::default()
    }
}

#[tonic::async_trait]
impl Bgpd for Fixed {
    async fn get_summary(&self, _: Request<GetSummaryRequest>) -> Reply<Summary> {
        Ok(Response::new(Summary {
            hostname: "par-a".into(),
            neighbors_total: 2,
            neighbors_established: 1,
            max_med: Some(MaxMed {
                med: 4_294_967_294,
                neighbors_in: 1,
                neighbors_total: 2,
                fib_pending: 0,
                seconds_left: 42,
            }),
            ..Default::default()
        }))
    }
    async fn get_memory(&self, _: Request<GetMemoryRequest>) -> Reply<Memory> {
        let part = |part: &str, octets| MemoryPart { part: part.into(), octets };
        Ok(Response::new(Memory {
            resident: 81 << 20,
            peak: (92 << 20) + (1 << 19),
            allocated: Some(70 << 20),
            parts: vec![part("attribute sets", 20_000), part("further paths", 40_000)],
            prefixes: 500,
            paths: 1_000,
            ..Default::default()
        }))
    }
    async fn list_neighbors(&self, r: Request<ListNeighborsRequest>) -> Reply<ListNeighborsResponse> {
        let all = ["", "transit-a"].contains(&r.into_inner().neighbor.as_str());
        Ok(Response::new(ListNeighborsResponse { neighbors: if all { vec![neighbor()] } else { vec![] } }))
    }
    type ListRoutesStream = Rows<Route>;
    async fn list_routes(&self, r: Request<ListRoutesRequest>) -> Reply<Rows<Route>> {
        let r = r.into_inner();
        if r.neighbor == "nobody" {
            return Err(Status::not_found("no neighbour \"nobody\""));
        }
        if r.prefix == "2001:db8:7::/48" {
            let mut paths = [9, 70_000].map(|id| Route { path_id: Some(id), best: id == 9, ..route(7) });
            paths[0].backup = "2001:db8:ffff::9 dev eth2".into();
            paths[0].shared_fate = "same interface as the active one: eth2".into();
            let paths = paths.map(Ok);
            return Ok(Response::new(Box::pin(tokio_stream::iter(paths))));
        }
        let count = match r.prefix.as_str() {
            "" => TABLE,
            "2001:db8::/48" => 1,
            _ => 0,
        };
        Ok(Response::new(Box::pin(tokio_stream::iter((0..count).map(|n| Ok(route(n)))))))
    }
    type ListFibStream = Rows<FibRoute>;
    async fn list_fib(&self, _: Request<ListFibRequest>) -> Reply<Rows<FibRoute>> {
        let row = FibRoute {
            prefix: "192.0.2.0/24".into(),
            nexthop_id: 7,
            next_hops: vec!["198.51.100.1 dev eth1".into()],
            state: "installed".into(),
            backup: "198.51.100.9 dev eth2".into(),
            shared_fate: "same duct as the active one: north".into(),
            ..Default::default()
        };
        let alone = FibRoute { shared_fate: String::new(), prefix: "203.0.113.0/24".into(), ..row.clone() };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(row), Ok(alone)]))))
    }
    async fn list_bfd(&self, _: Request<ListBfdRequest>) -> Reply<ListBfdResponse> {
        let session = BfdSession {
            neighbor: "transit-a".into(),
            peer: "192.0.2.1".into(),
            state: "Up".into(),
            ..BfdSession::default()
        };
        Ok(Response::new(ListBfdResponse { sessions: vec![session] }))
    }
    async fn list_next_hops(&self, _: Request<ListNextHopsRequest>) -> Reply<ListNextHopsResponse> {
        let object = NextHopObject {
            id: 64_500_003,
            form: "protected".into(),
            active: vec!["198.51.100.1 dev fib-a".into()],
            backup: "198.51.100.5 dev bb1".into(),
            shared_fate: "same duct: north".into(),
            lost: vec!["198.51.100.9 dev fib-b (link down)".into()],
            routes: 1_000_000,
            installed: true,
            error: String::new(),
        };
        Ok(Response::new(ListNextHopsResponse { objects: vec![object] }))
    }
    async fn explain_route(&self, r: Request<ExplainRouteRequest>) -> Reply<ExplainRouteResponse> {
        let path = |outcome: &str, step: &str, this: &str| ExplainedPath {
            route: Some(route(0)),
            outcome: outcome.into(),
            step: step.into(),
            this_value: this.into(),
            best_value: "2".into(),
        };
        let paths = vec![path("best", "", ""), path("lost", "4 shorter AS_PATH (RFC 4271 §9.1.2.2 a)", "3")];
        Ok(Response::new(ExplainRouteResponse {
            prefix: r.into_inner().prefix,
            paths,
            forwarding: "in the kernel".into(),
        }))
    }
    async fn explain_export(&self, r: Request<ExplainExportRequest>) -> Reply<ExplainExportResponse> {
        let r = r.into_inner();
        let step = ExplainStep { rule: "own prefixes only".into(), pass: false, detail: "learned from transit".into() };
        let (prefix, neighbor, steps) = (r.prefix, r.neighbor, vec![step]);
        Ok(Response::new(ExplainExportResponse { prefix, neighbor, exported: false, steps, route: None }))
    }
}

#[tonic::async_trait]
impl BgpdControl for Fixed {
    async fn reload(&self, _: Request<ReloadRequest>) -> Reply<ReloadResponse> {
        Err(Status::invalid_argument("bgpd.toml:3:1: unknown key: pasive; remove it"))
    }
    async fn set_neighbor_enabled(&self, r: Request<SetNeighborEnabledRequest>) -> Reply<SetNeighborEnabledResponse> {
        if r.into_inner().enabled {
            return Ok(Response::new(SetNeighborEnabledResponse {}));
        }
        Err(Status::failed_precondition("it is the last uplink; enable another first"))
    }
    async fn set_neighbor_drained(&self, r: Request<SetNeighborDrainedRequest>) -> Reply<SetNeighborDrainedResponse> {
        match r.into_inner().neighbor.as_str() {
            "rr-1" => Err(Status::failed_precondition("rr-1 is an iBGP neighbour")),
            _ => Ok(Response::new(SetNeighborDrainedResponse {})),
        }
    }
}

/// A listening answerer; the endpoint, and what keeps it alive.
async fn fixed() -> (String, watch::Sender<bool>) {
    let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".into()), 0).await.unwrap();
    let endpoint = listener.address().to_string();
    let (keep, stop) = watch::channel(false);
    let routes = tonic::service::Routes::new(BgpdServer::new(Fixed)).add_service(BgpdControlServer::new(Fixed));
    tokio::spawn(listener.serve(routes, stop));
    (endpoint, keep)
}

async fn at(endpoint: &str, args: &[&str]) -> Ran {
    let args: Vec<String> = ["--bgpd", endpoint].iter().chain(args).map(ToString::to_string).collect();
    tokio::task::spawn_blocking(move || noc(&args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_shown_and_that_it_may_be_lost_too() {
    let (endpoint, _keep) = fixed().await;
    let table = at(&endpoint, &["show", "fib"]).await.out;
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    assert!(lines[1].ends_with("backup: 198.51.100.9 dev eth2 (same duct as the active one: north)"), "{table}");
    assert!(lines[2].ends_with("backup: 198.51.100.9 dev eth2"), "{table}");
    let several = at(&endpoint, &["show", "route", "2001:db8:7::/48", "--all"]).await.out;
    assert!(
        several.contains("backup: 2001:db8:ffff::9 dev eth2 (same interface as the active one: eth2)"),
        "{several}"
    );
    for show in [&["show", "fib", "-o", "json"][..], &["show", "route", "2001:db8:7::/48", "--all", "-o", "json"]] {
        let json = at(&endpoint, show).await;
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert!(json[0]["backup"].as_str().unwrap().ends_with("dev eth2"), "{json}");
        assert!(json[0]["shared_fate"].as_str().unwrap().starts_with("same "), "{json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_json_come_from_one_message() {
    let (endpoint, _keep) = fixed().await;
    let table = at(&endpoint, &["show", "neighbors"]).await;
    assert_eq!(
        table.out,
        "NEIGHBOR   ADDRESS    AS     RELATION  STATE        SINCE  RECEIVED  ACCEPTED  SENT  LAST ERROR\n\
         transit-a  192.0.2.1  64501  transit   Established  1d01h  20        19        2\n"
    );
    let json = at(&endpoint, &["show", "neighbors", "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json[0]["remote_as"], &json[0]["families"][0]["accepted"]), (&64501.into(), &19.into()));
    let table = at(&endpoint, &["show", "bfd"]).await;
    assert!(table.out.contains("transit-a") && table.out.contains("Up"), "{table:?}");
    let table = at(&endpoint, &["show", "next-hops"]).await;
    assert_eq!(
        table.out,
        "ID        ROUTES   IN USE                  BACKUP                                   LOST                                STATE\n\
         64500003  1000000  198.51.100.1 dev fib-a  198.51.100.5 dev bb1 (same duct: north)  198.51.100.9 dev fib-b (link down)  in the kernel\n"
    );
    let table = at(&endpoint, &["show", "route", "2001:db8::/48"]).await;
    assert_eq!(
        table.out,
        "   PREFIX         NEXT HOP          FROM       PREF  MED  AS PATH      O  AGE    REMARK\n\
         >  2001:db8:0::/48  2001:db8:ffff::1  transit-a  100        64501 64510  i  1h02m\n"
            .replace("   PREFIX         NEXT", "   PREFIX           NEXT")
    );
    // RFC 7911: which path, where the session tells several.
    for show in
        [&["show", "route", "2001:db8:7::/48", "--all"][..], &["show", "rib-out", "transit-a", "2001:db8:7::/48"]]
    {
        let several = at(&endpoint, show).await.out;
        assert!(several.contains(">  2001:db8:7::/48 path 9      2001:db8:ffff::1"), "{several}");
        assert!(several.contains("   2001:db8:7::/48 path 70000  2001:db8:ffff::1"), "{several}");
    }
    let summary = at(&endpoint, &["show", "summary"]).await.out;
    let says = "own prefixes at MED 4294967294 until the table is in (1 of 2 neighbours' End-of-RIB), at most 42 s";
    assert!(summary.contains(says), "{summary}");
    let json: serde_json::Value =
        serde_json::from_str(&at(&endpoint, &["-o", "json", "show", "summary"]).await.out).unwrap();
    assert_eq!((&json["max_med"]["med"], &json["max_med"]["seconds_left"]), (&4_294_967_294_u32.into(), &42.into()));
    let memory = at(&endpoint, &["show", "memory"]).await.out;
    for says in
        ["81.0 MiB, at most 92.5 MiB so far", "0.1 MiB, 60 octets a path", "500 / 1000", "further paths   40000"]
    {
        assert!(memory.contains(says), "{says}: {memory}");
    }
    let explained = at(&endpoint, &["explain", "route", "2001:db8::/48"]).await.out;
    assert!(explained.contains("4 shorter AS_PATH (RFC 4271 §9.1.2.2 a)  3") && explained.contains("in the kernel"));
    let export = at(&endpoint, &["explain", "export", "2001:db8::/48", "transit-a"]).await;
    assert!(
        export.code == 0 && export.out.contains("is NOT sent to transit-a") && export.out.contains("STOP"),
        "{export:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_of_answers() {
    let (endpoint, _keep) = fixed().await;
    for (args, code, says) in [
        (&["show", "neighbors", "nobody"][..], 1, "no neighbour"),
        (&["show", "route", "192.0.2.0/24"], 1, "no route to 192.0.2.0/24"),
        (&["show", "rib-in", "nobody"], 1, "nobody"),
        (&["config", "reload"], 2, "bgpd.toml:3:1: unknown key"),
        (&["neighbor", "disable", "transit-a"], 3, "last uplink"),
        (&["neighbor", "enable", "transit-a"], 0, ""),
        (&["neighbor", "drain", "transit-a"], 0, ""),
        (&["neighbor", "undrain", "transit-a"], 0, ""),
        (&["neighbor", "drain", "rr-1"], 3, "iBGP"),
        (&["show", "fib"], 0, ""),
    ] {
        let ran = at(&endpoint, args).await;
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        assert!(ran.err.contains(says) && ran.err.lines().count() == usize::from(code != 0), "{args:?}: {ran:?}");
    }
    // ipamd's questions to something that is no ipamd.
    let ran = at(&endpoint, &["--ipam", &endpoint, "ip", "free"]).await;
    assert!(ran.code == 1 && ran.err.contains("is it the right one"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_table_streams_and_a_broken_pipe_is_quiet() {
    let (endpoint, _keep) = fixed().await;
    let json = at(&endpoint, &["show", "route", "-o", "json"]).await;
    let all: Vec<serde_json::Value> = serde_json::from_str(&json.out).unwrap();
    assert_eq!(all.len(), TABLE as usize);
    let (first, ran) = tokio::task::spawn_blocking(move || {
        let mut child = command(&["--bgpd", &endpoint, "show", "route"]);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        // Reads one line and goes, like `head -1`.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        (first, child.wait_with_output().unwrap())
    })
    .await
    .unwrap();
    assert!(first.contains("NEXT HOP"));
    assert_eq!((ran.status.code(), ran.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn colour_only_when_asked_for_or_on_a_terminal() {
    let (endpoint, _keep) = fixed().await;
    let plain = at(&endpoint, &["show", "neighbors"]).await.out;
    assert!(!plain.contains('\u{1b}'), "a pipe is no terminal");
    assert!(at(&endpoint, &["--color", "always", "show", "neighbors"]).await.out.contains("\u{1b}[32mEstablished"));
    // A terminal, by script(1): colour, but not with NO_COLOR.
    let on_terminal = |no_color: &'static str| {
        let mut script = std::process::Command::new("script");
        let line = format!("{} --bgpd {endpoint} show neighbors", env!("CARGO_BIN_EXE_noc"));
        script.args(["-qec", &line, "/dev/null"]).env("NO_COLOR", no_color).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || ran(script))
    };
    assert!(on_terminal("").await.unwrap().out.contains("\u{1b}[32m"));
    assert!(!on_terminal("1").await.unwrap().out.contains("\u{1b}[32m"));
}
