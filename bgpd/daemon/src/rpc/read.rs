//! `Bgpd`: questions. Each takes a look at what the owners publish, or asks an owner and waits for its answer.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::bgpd::{self as pb, bgpd_server::Bgpd, list_routes_request::Table};
use bgp_core::config::Ducts;
use bgp_core::rib::{ConnectedTable, RouteFilter, RouteTable};
use kernel::ProcessMemory;
use net_types::{Family, Prefix};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{self, Names};
use super::query;
use crate::directory::{Directory, Entry};
use crate::fib_task::{self, FibInput};
use crate::messages::{Command, Snapshot};
use crate::supervisor::Shared;

/// Messages that wait in a stream. Full: the conversion stands still, then the listing, and nothing else.
const STREAM: usize = 512;
/// A neighbour's task or the FIB thread answers within this.
const ANSWER: Duration = Duration::from_secs(5);

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Clone)]
pub struct Reader {
    shared: Shared,
}

impl Reader {
    /// Over the daemon's channels.
    pub fn new(shared: Shared) -> Reader {
        Reader { shared }
    }

    fn world(&self) -> (Arc<Directory>, Arc<ConnectedTable>, bool, Ducts) {
        let directory = self.shared.directory.borrow().clone();
        let ducts = self.shared.overview.borrow().speaker.as_ref().map(|s| s.ducts.clone()).unwrap_or_default();
        (directory, self.shared.interfaces.borrow().clone(), self.shared.fib.is_some(), ducts)
    }

    async fn snapshots(&self, entries: &[Entry]) -> Vec<Snapshot> {
        let mut waiting = Vec::new();
        for e in entries {
            let (answer, reply) = oneshot::channel();
            if tokio::time::timeout(ANSWER, e.commands.send(Command::Status(answer))).await.is_ok() {
                waiting.push(reply);
            }
        }
        let mut snapshots = Vec::new();
        for reply in waiting {
            if let Ok(Ok(snapshot)) = tokio::time::timeout(ANSWER, reply).await {
                snapshots.push(*snapshot);
            }
        }
        snapshots
    }
}

/// The neighbour that a request names.
pub(super) fn find(directory: &Directory, who: &str) -> Result<Entry, Status> {
    directory.find(who).cloned().ok_or_else(|| {
        let names: Vec<&str> = directory.entries().map(|e| e.config.name.as_str()).take(20).collect();
        Status::not_found(format!("no neighbour {who:?}; there are: {}", names.join(", ")))
    })
}

fn family(text: &str) -> Result<Option<Family>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(Status::invalid_argument)
}

/// A prefix, or an address that asks for its longest match (the second value).
fn destination(text: &str) -> Result<(Prefix, bool), Status> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((Prefix::host(address), true));
    }
    Prefix::parse_strict(text).map(|p| (p, false)).map_err(|e| Status::invalid_argument(e.to_string()))
}

#[tonic::async_trait]
impl Bgpd for Reader {
    async fn get_summary(&self, _: Request<pb::GetSummaryRequest>) -> Result<Response<pb::Summary>, Status> {
        let (directory, _, fib, _) = self.world();
        let entries: Vec<Entry> = directory.entries().cloned().collect();
        let snapshots = self.snapshots(&entries).await;
        let established = snapshots.iter().filter(|s| s.status.state == bgp_core::peer::State::Established).count();
        let (rib, now) = query::ask(&self.shared.rib, |rib, now| (rib.summary(), now)).await?;
        let overview = self.shared.overview.borrow().clone();
        let ipam = self.shared.ipam.borrow().clone();
        let family = |f: &bgp_core::rib::FamilyCounts| pb::FamilyCount {
            family: f.family.to_string(),
            prefixes: f.prefixes as u64,
            paths: f.paths as u64,
            fib_installed: if fib { f.fib_installed as u64 } else { 0 },
            fib_pending: if fib { f.fib_pending as u64 } else { 0 },
        };
        Ok(Response::new(pb::Summary {
            version: env!("CARGO_PKG_VERSION").into(),
            hostname: overview.hostname.unwrap_or_else(|| {
                std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| String::new(), |h| h.trim().into())
            }),
            local_as: overview.speaker.as_ref().map_or(0, |s| s.local_as.0),
            router_id: overview.speaker.as_ref().map_or_else(String::new, |s| s.router_id.to_string()),
            uptime_seconds: now.0 / 1_000_000,
            neighbors_total: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            neighbors_established: u32::try_from(established).unwrap_or(u32::MAX),
            families: rib.families.iter().map(family).collect(),
            ipam_state: if overview.site.is_empty() { "not configured".into() } else { ipam.describe() },
            announcement_revision: ipam.set.revision,
            announced: rib.announced.iter().map(ToString::to_string).collect(),
            restarting: rib.restarting,
            max_med: rib.last_resort.map(|l| convert::max_med(&l, now)),
            site: overview.site,
            config_generation: overview.generation,
            last_reload_error: overview.last_reload_error,
        }))
    }

    async fn get_memory(&self, _: Request<pb::GetMemoryRequest>) -> Result<Response<pb::Memory>, Status> {
        let (tables, rib) = query::ask(&self.shared.rib, |rib, _| (rib.memory(), rib.summary())).await?;
        let process = ProcessMemory::now().map_err(|e| Status::internal(format!("/proc/self/status: {e}")))?;
        Ok(Response::new(convert::memory(&process, &tables, &rib)))
    }

    async fn list_neighbors(
        &self,
        request: Request<pb::ListNeighborsRequest>,
    ) -> Result<Response<pb::ListNeighborsResponse>, Status> {
        let who = request.into_inner().neighbor;
        let (directory, ..) = self.world();
        let entries =
            if who.is_empty() { directory.entries().cloned().collect() } else { vec![find(&directory, &who)?] };
        let snapshots = self.snapshots(&entries).await;
        let ids: Vec<_> = snapshots.iter().map(|s| s.id).collect();
        let counts = query::ask(&self.shared.rib, move |rib, _| {
            ids.into_iter().map(|id| rib.neighbor_counts(id)).collect::<Vec<_>>()
        })
        .await?;
        let address = |s: &Snapshot| directory.find(&s.config.name).map(|e| e.address);
        let neighbors =
            snapshots.iter().zip(&counts).filter_map(|(s, c)| address(s).map(|a| convert::neighbor(s, a, c))).collect();
        Ok(Response::new(pb::ListNeighborsResponse { neighbors }))
    }

    async fn list_bfd(&self, _: Request<pb::ListBfdRequest>) -> Result<Response<pb::ListBfdResponse>, Status> {
        let listed = self.shared.bfd.list().await;
        let (now, sessions) = listed.ok_or_else(|| Status::unavailable("bgpd is stopping"))?;
        let (directory, interfaces, ..) = self.world();
        let sessions = sessions.iter().map(|s| convert::bfd(s, now, &directory, &interfaces)).collect();
        Ok(Response::new(pb::ListBfdResponse { sessions }))
    }

    type ListRoutesStream = Streamed<pb::Route>;

    async fn list_routes(
        &self,
        request: Request<pb::ListRoutesRequest>,
    ) -> Result<Response<Self::ListRoutesStream>, Status> {
        let r = request.into_inner();
        let (directory, interfaces, fib, ducts) = self.world();
        let peer = || {
            if r.neighbor.is_empty() {
                return Err(Status::invalid_argument("this table is a neighbour's: name it"));
            }
            find(&directory, &r.neighbor).map(|e| e.id)
        };
        let table = match r.table() {
            Table::LocRib => RouteTable::Loc { all_paths: r.all_paths },
            Table::AdjRibIn => RouteTable::In(peer()?),
            Table::AdjRibOut => RouteTable::Out(peer()?),
        };
        let mut filter = RouteFilter { family: family(&r.family)?, longer: r.longer, ..RouteFilter::default() };
        if !r.prefix.is_empty() {
            let (prefix, longest_match) = destination(&r.prefix)?;
            filter.prefix = Some(prefix);
            filter.longest_match = longest_match && !r.longer;
        }
        let mut pages = query::list(&self.shared.rib, table, filter).await?;
        let (stream, receiver) = mpsc::channel(STREAM);
        tokio::spawn(async move {
            while let Some((now, page)) = pages.recv().await {
                for entry in &page {
                    let route =
                        Names { directory: &directory, interfaces: &interfaces, ducts: &ducts, fib }.route(entry, now);
                    if stream.send(Ok(route)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type ListFibStream = Streamed<pb::FibRoute>;

    async fn list_fib(&self, request: Request<pb::ListFibRequest>) -> Result<Response<Self::ListFibStream>, Status> {
        let family = family(&request.into_inner().family)?;
        let (directory, interfaces, _, ducts) = self.world();
        let (stream, receiver) = mpsc::channel(STREAM);
        if let Some(fib) = self.shared.fib.clone() {
            tokio::task::spawn_blocking(move || {
                let names = Names { directory: &directory, interfaces: &interfaces, ducts: &ducts, fib: true };
                let whole = fib_task::list(&fib, family, |line| stream.blocking_send(Ok(names.fib(line))).is_ok());
                if !whole {
                    let _ = stream.blocking_send(Err(Status::unavailable("bgpd is stopping")));
                }
            });
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_next_hops(
        &self,
        _: Request<pb::ListNextHopsRequest>,
    ) -> Result<Response<pb::ListNextHopsResponse>, Status> {
        let (directory, interfaces, _, ducts) = self.world();
        let Some(fib) = self.shared.fib.clone() else { return Ok(Response::new(pb::ListNextHopsResponse::default())) };
        let ask = move || {
            let (answer, reply) = oneshot::channel();
            fib.send(FibInput::NextHops(answer)).ok()?;
            reply.blocking_recv().ok()
        };
        let asked = tokio::task::spawn_blocking(ask).await.ok().flatten();
        let objects = asked.ok_or_else(|| Status::unavailable("bgpd is stopping"))?;
        let names = Names { directory: &directory, interfaces: &interfaces, fib: true, ducts: &ducts };
        // Members are parts of the groups shown.
        let shown = objects.iter().filter(|o| o.form != "member");
        Ok(Response::new(pb::ListNextHopsResponse { objects: shown.map(|o| names.next_hops(o)).collect() }))
    }

    async fn explain_route(
        &self,
        request: Request<pb::ExplainRouteRequest>,
    ) -> Result<Response<pb::ExplainRouteResponse>, Status> {
        let text = request.into_inner().prefix;
        let (prefix, _) = destination(&text)?;
        let (explained, now) = query::ask(&self.shared.rib, move |rib, now| (rib.explain_route(&prefix), now)).await?;
        let explained = explained.ok_or_else(|| Status::not_found(format!("no path for {text}")))?;
        let (directory, interfaces, fib, ducts) = self.world();
        let names = Names { directory: &directory, interfaces: &interfaces, ducts: &ducts, fib };
        Ok(Response::new(pb::ExplainRouteResponse {
            prefix: explained.prefix.to_string(),
            paths: explained.paths.iter().map(|p| names.explained(p, now)).collect(),
            forwarding: if fib {
                explained.forwarding
            } else {
                "no kernel table is kept here ([fib] enabled = false)".into()
            },
        }))
    }

    async fn explain_export(
        &self,
        request: Request<pb::ExplainExportRequest>,
    ) -> Result<Response<pb::ExplainExportResponse>, Status> {
        let r = request.into_inner();
        let (prefix, _) = destination(&r.prefix)?;
        let (directory, interfaces, fib, ducts) = self.world();
        let entry = find(&directory, &r.neighbor)?;
        let id = entry.id;
        let ask = move |rib: &bgp_core::rib::Rib, now| {
            (rib.explain_export(&prefix, id), rib.exported_route(&prefix, id), now)
        };
        let (steps, route, now) = query::ask(&self.shared.rib, ask).await?;
        let name = entry.config.name.clone();
        let steps = steps.ok_or_else(|| Status::failed_precondition(format!("no session with {name}")))?;
        let names = Names { directory: &directory, interfaces: &interfaces, ducts: &ducts, fib };
        let step = |s: &bgp_core::policy::ExplainStep| pb::ExplainStep {
            rule: format!("{} ({})", s.rule, s.clause),
            pass: s.pass,
            detail: s.detail.clone(),
        };
        Ok(Response::new(pb::ExplainExportResponse {
            prefix: prefix.to_string(),
            neighbor: name,
            exported: route.is_some(),
            steps: steps.iter().map(step).collect(),
            route: route.map(|e| names.route(&e, now)),
        }))
    }
}
