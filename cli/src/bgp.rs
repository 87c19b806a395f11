//! The commands that speak to bgpd.

use crate::args::{Config, Explain, Family, Neighbor, Rib, Show};
use crate::failure::Failure;
use crate::output::{Output, Row};
use api::bgpd::bgpd_client::BgpdClient;
use api::bgpd::bgpd_control_client::BgpdControlClient;
use api::bgpd::list_routes_request::Table;
use api::bgpd::*;
use daemonbase::grpc::{Address, connect};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

/// A question is answered within this, or the daemon is as good as away.
const PATIENCE: Duration = Duration::from_secs(20);
/// A reload reads a file and touches every session.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

async fn channel(at: &Address) -> Result<Channel, Failure> {
    Ok(connect("bgpd", at).await?)
}

async fn reader(at: &Address) -> Result<BgpdClient<Channel>, Failure> {
    Ok(BgpdClient::new(channel(at).await?).max_decoding_message_size(usize::MAX))
}

fn within<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

/// `noc show`.
pub(crate) async fn show(at: &Address, what: Show, out: &mut Output) -> Result<(), Failure> {
    let mut bgpd = reader(at).await?;
    match what {
        Show::Summary => {
            let summary = bgpd.get_summary(within(GetSummaryRequest {}, PATIENCE)).await?.into_inner();
            out.one(&summary)
        }
        Show::Memory => {
            let memory = bgpd.get_memory(within(GetMemoryRequest {}, PATIENCE)).await?.into_inner();
            out.one(&memory)
        }
        Show::Neighbors { name } => {
            let request = ListNeighborsRequest { neighbor: name.clone().unwrap_or_default() };
            let found = bgpd.list_neighbors(within(request, PATIENCE)).await?.into_inner();
            match (name, found.neighbors.as_slice()) {
                (Some(name), []) => {
                    out.rows::<api::bgpd::Neighbor>(&[])?;
                    Err(Failure::NotFound(format!("no neighbour {name:?}: see `noc show neighbors`")))
                }
                // JSON keeps one form: an array, whatever is in it.
                (Some(_), [one]) if !out.is_json() => out.one(one),
                (_, all) => out.rows(all),
            }
        }
        Show::Bfd => {
            let found = bgpd.list_bfd(within(ListBfdRequest {}, PATIENCE)).await?.into_inner();
            out.rows(&found.sessions)
        }
        Show::Route { prefix, longer, all, family } => {
            let request = ListRoutesRequest {
                table: Table::LocRib.into(),
                prefix: prefix.clone().unwrap_or_default(),
                longer,
                family: family_text(family),
                all_paths: all,
                ..Default::default()
            };
            let routes = bgpd.list_routes(request).await?.into_inner();
            let count = stream(routes, out).await?;
            found(count, prefix, "no route to")
        }
        Show::RibIn(rib) => rib_of(&mut bgpd, Table::AdjRibIn, rib, out).await,
        Show::RibOut(rib) => rib_of(&mut bgpd, Table::AdjRibOut, rib, out).await,
        Show::NextHops => {
            let found = bgpd.list_next_hops(within(ListNextHopsRequest {}, PATIENCE)).await?.into_inner();
            out.rows(&found.objects)
        }
        Show::Fib { family } => {
            let routes = bgpd.list_fib(ListFibRequest { family: family_text(family) }).await?.into_inner();
            stream(routes, out).await.map(drop)
        }
    }
}

async fn rib_of(bgpd: &mut BgpdClient<Channel>, table: Table, rib: Rib, out: &mut Output) -> Result<(), Failure> {
    let request = ListRoutesRequest {
        table: table.into(),
        neighbor: rib.neighbor,
        prefix: rib.prefix.clone().unwrap_or_default(),
        longer: rib.longer,
        family: family_text(rib.family),
        ..Default::default()
    };
    let routes = bgpd.list_routes(request).await?.into_inner();
    let count = stream(routes, out).await?;
    found(count, rib.prefix, if table == Table::AdjRibIn { "it did not send" } else { "we do not send" })
}

/// Prints rows as they come.
async fn stream<R: Row>(mut rows: Streaming<R>, out: &mut Output) -> Result<u64, Failure> {
    let mut stream = out.stream();
    while let Some(row) = rows.message().await? {
        stream.push(&row)?;
    }
    Ok(stream.end()?)
}

fn found(count: u64, asked: Option<String>, what: &str) -> Result<(), Failure> {
    match asked {
        Some(prefix) if count == 0 => Err(Failure::NotFound(format!("{what} {prefix}"))),
        _ => Ok(()),
    }
}

fn family_text(family: Option<Family>) -> String {
    match family {
        None => String::new(),
        Some(Family::Ipv4) => "ipv4-unicast".to_owned(),
        Some(Family::Ipv6) => "ipv6-unicast".to_owned(),
    }
}

/// `noc explain`.
pub(crate) async fn explain(at: &Address, what: Explain, out: &mut Output) -> Result<(), Failure> {
    let mut bgpd = reader(at).await?;
    match what {
        Explain::Route { prefix } => {
            let request = ExplainRouteRequest { prefix: prefix.clone() };
            let answer = bgpd.explain_route(within(request, PATIENCE)).await?.into_inner();
            out.one(&answer)?;
            found(answer.paths.len() as u64, Some(prefix), "no path to")
        }
        Explain::Export { prefix, neighbor } => {
            let request = ExplainExportRequest { prefix: prefix.to_string(), neighbor };
            out.one(&bgpd.explain_export(within(request, PATIENCE)).await?.into_inner())
        }
    }
}

/// `noc config`.
pub(crate) async fn config(at: &Address, what: Config, out: &mut Output) -> Result<(), Failure> {
    let mut control = BgpdControlClient::new(channel(at).await?);
    match what {
        Config::Reload => out.one(&control.reload(within(ReloadRequest {}, LONG_PATIENCE)).await?.into_inner()),
    }
}

/// `noc neighbor`.
pub(crate) async fn neighbor(at: &Address, what: Neighbor, out: &mut Output) -> Result<(), Failure> {
    let (neighbor, enabled, message) = match what {
        Neighbor::Enable { name } => (name, true, String::new()),
        Neighbor::Disable { name, message } => (name, false, message),
        Neighbor::Drain { name } => return drain(at, name, true, out).await,
        Neighbor::Undrain { name } => return drain(at, name, false, out).await,
    };
    // RFC 9003 §2: at most 255 octets of UTF-8.
    if message.len() > 255 {
        let length = message.len();
        return Err(Failure::Usage(format!("the message is {length} bytes long: at most 255 (RFC 9003)")));
    }
    let mut control = BgpdControlClient::new(channel(at).await?);
    let request = SetNeighborEnabledRequest { neighbor: neighbor.clone(), enabled, message };
    control.set_neighbor_enabled(within(request, PATIENCE)).await?;
    out.one(&crate::bgp_tables::NeighborSet { neighbor, enabled })
}

async fn drain(at: &Address, neighbor: String, drained: bool, out: &mut Output) -> Result<(), Failure> {
    let mut control = BgpdControlClient::new(channel(at).await?);
    let request = SetNeighborDrainedRequest { neighbor: neighbor.clone(), drained };
    control.set_neighbor_drained(within(request, PATIENCE)).await?;
    out.one(&crate::bgp_tables::NeighborDrained { neighbor, drained })
}
