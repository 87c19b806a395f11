//! The gRPC face: wire to [`Command`] and back. No decision is made here.
//!
//! A refusal is FAILED_PRECONDITION with `RULE-ID: reason; cure`; what makes no sense whatever the state is
//! INVALID_ARGUMENT; a change that could not be written is UNAVAILABLE; a change over a read-only listener is
//! PERMISSION_DENIED.

use crate::book::{Answer, Book, Failure};
use crate::watch::{self, Sets};
use api::ipam as wire;
use api::ipam::ipam_server::Ipam;
use ipam_core::{Assignment, Command, State};
use net_types::Prefix;
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

/// One listener's face.
#[derive(Clone)]
pub(crate) struct Service {
    /// The owner.
    pub(crate) book: Book,
    /// False: shows only.
    pub(crate) may_change: bool,
    /// Becomes true when streams have to end.
    pub(crate) stop: tokio::sync::watch::Receiver<bool>,
}

impl Service {
    async fn change(&self, command: Command) -> Result<Answer, Status> {
        if !self.may_change {
            return Err(Status::permission_denied(
                "this address of ipamd only shows: make changes over its Unix socket, or set listen_may_change",
            ));
        }
        self.book.change(command).await.map_err(status)
    }

    /// A change that is answered with a sentence.
    async fn told(&self, command: Command, done: &str, already: &str) -> Reply<wire::Change> {
        let answer = self.change(command).await?;
        let message = if answer.changed { done } else { already };
        let message = match answer.subject {
            Some(p) => format!("{p} {message}"),
            None => message.to_owned(),
        };
        Ok(Response::new(wire::Change { revision: answer.revision, message }))
    }

    async fn booked(&self, command: Command) -> Reply<wire::Assignment> {
        let answer = self.change(command).await?;
        match (answer.subject, answer.assignment) {
            (Some(p), Some(a)) => Ok(Response::new(assignment(p, &a))),
            _ => Err(Status::internal("the assignment was made and is not there: report this as a fault")),
        }
    }
}

#[tonic::async_trait]
impl Ipam for Service {
    async fn add_holding(&self, request: Request<wire::AddHoldingRequest>) -> Reply<wire::Change> {
        let holding = request.into_inner().holding.unwrap_or_default();
        let command = Command::AddHolding { prefix: prefix(&holding.prefix)?, source: holding.source };
        self.told(command, "is held", "was held already").await
    }

    async fn add_site(&self, request: Request<wire::AddSiteRequest>) -> Reply<wire::Change> {
        let site = request.into_inner().site.unwrap_or_default();
        let (done, already) = (format!("site {} added", site.name), format!("site {} was there already", site.name));
        let command = Command::AddSite { name: site.name, description: site.description };
        self.told(command, &done, &already).await
    }

    async fn add_assignment(&self, request: Request<wire::AddAssignmentRequest>) -> Reply<wire::Assignment> {
        let r = request.into_inner();
        self.booked(Command::Assign {
            prefix: prefix(&r.prefix)?,
            owner: r.owner,
            site: r.site,
            description: r.description,
            request_id: r.request_id,
        })
        .await
    }

    async fn allocate(&self, request: Request<wire::AllocateRequest>) -> Reply<wire::Assignment> {
        let r = request.into_inner();
        let within = some_prefix(&r.within)?;
        let is_v4 = match (r.family.as_str(), within) {
            ("ipv4" | "ipv4-unicast", _) => true,
            ("ipv6" | "ipv6-unicast", _) => false,
            ("", Some(within)) => within.is_v4(),
            ("", None) => {
                return Err(Status::invalid_argument("no family: say ipv4 or ipv6, or where to take it from"));
            }
            (other, _) => return Err(Status::invalid_argument(format!("unknown family {other:?}: ipv4 or ipv6"))),
        };
        self.booked(Command::Allocate {
            // No family has a length that long; the rule says so.
            length: u8::try_from(r.length).unwrap_or(u8::MAX),
            is_v4,
            within,
            owner: r.owner,
            site: r.site,
            description: r.description,
            request_id: r.request_id,
        })
        .await
    }

    async fn release(&self, request: Request<wire::ReleaseRequest>) -> Reply<wire::Change> {
        let r = request.into_inner();
        let command = Command::Release { prefix: prefix(&r.prefix)?, owner: r.owner };
        self.told(command, "is free", "was not booked").await
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Reply<wire::ListResponse> {
        let within = some_prefix(&request.into_inner().within)?;
        self.book.read(move |state, _| list(state, within)).await.map(Response::new).map_err(status)
    }

    async fn free(&self, request: Request<wire::FreeRequest>) -> Reply<wire::FreeResponse> {
        let within = some_prefix(&request.into_inner().within)?;
        let free = self.book.read(move |state, _| state.free(within)).await.map_err(status)?;
        Ok(Response::new(wire::FreeResponse { prefixes: texts(&free) }))
    }

    async fn announce(&self, request: Request<wire::AnnounceRequest>) -> Reply<wire::Change> {
        let r = request.into_inner();
        let from = r.sites.join(", ");
        let (done, already) = (format!("is announced from {from}"), format!("was announced from {from} already"));
        let command = Command::Announce { prefix: prefix(&r.prefix)?, sites: r.sites, owner: r.owner };
        self.told(command, &done, &already).await
    }

    async fn withdraw(&self, request: Request<wire::WithdrawRequest>) -> Reply<wire::Change> {
        let r = request.into_inner();
        let from = if r.sites.is_empty() { "everywhere".to_owned() } else { r.sites.join(", ") };
        let command = Command::Withdraw { prefix: prefix(&r.prefix)?, sites: r.sites };
        self.told(command, &format!("is withdrawn from {from}"), "was not announced there").await
    }

    async fn list_announcements(
        &self,
        request: Request<wire::ListAnnouncementsRequest>,
    ) -> Reply<wire::ListAnnouncementsResponse> {
        let site = request.into_inner().site;
        let read = self.book.read(move |state, _| {
            if !site.is_empty() {
                state.check_site(&site)?;
            }
            let announcements = announcements(state).filter(|a| site.is_empty() || a.sites.contains(&site)).collect();
            Ok(wire::ListAnnouncementsResponse { revision: state.revision(), announcements })
        });
        let listed = read.await.map_err(status)?;
        listed.map(Response::new).map_err(|r| status(Failure::Refused(r)))
    }

    type WatchAnnouncementsStream = Sets;

    async fn watch_announcements(&self, request: Request<wire::WatchAnnouncementsRequest>) -> Reply<Sets> {
        let peer = request.remote_addr().map_or_else(|| "unix".to_owned(), |a| a.to_string());
        let r = request.into_inner();
        let site = r.site.clone();
        let known = self.book.read(move |state, _| state.check_site(&site)).await.map_err(status)?;
        known.map_err(|r| status(Failure::Refused(r)))?;
        let since = (r.store_id == self.book.store_id()).then_some(r.since_revision);
        tracing::info!(site = r.site, peer, ?since, "watch");
        Ok(Response::new(watch::start(self.book.clone(), r.site, since, self.stop.clone())))
    }
}

/// The status that a failure is answered with.
pub(crate) fn status(failure: Failure) -> Status {
    match failure {
        Failure::Refused(r) if r.rule.is_malformed() => Status::invalid_argument(r.to_string()),
        Failure::Refused(r) => Status::failed_precondition(r.to_string()),
        Failure::Store(what) => Status::unavailable(what),
        Failure::Gone => Status::unavailable("ipamd is stopping"),
    }
}

/// What is at, inside and around `within`.
fn list(state: &State, within: Option<Prefix>) -> wire::ListResponse {
    let near = |p: &Prefix| within.is_none_or(|w| w.overlaps(p));
    let holdings = state.holdings().iter().filter(|(p, _)| near(p));
    let sites = state.sites().iter();
    let assignments = state.assignments().iter().filter(|(p, _)| near(p));
    wire::ListResponse {
        revision: state.revision(),
        holdings: holdings.map(|(p, h)| wire::Holding { prefix: p.to_string(), source: h.source.clone() }).collect(),
        sites: sites.map(|(n, s)| wire::Site { name: n.clone(), description: s.description.clone() }).collect(),
        assignments: assignments.map(|(p, a)| assignment(*p, a)).collect(),
        announcements: state.announcements().iter().filter(|(p, _)| near(p)).map(announcement).collect(),
    }
}

fn announcements(state: &State) -> impl Iterator<Item = wire::Announcement> + '_ {
    state.announcements().iter().map(announcement)
}

fn announcement((p, a): (&Prefix, &ipam_core::Announcement)) -> wire::Announcement {
    wire::Announcement { prefix: p.to_string(), sites: a.sites.iter().cloned().collect(), owner: a.owner.clone() }
}

fn assignment(p: Prefix, a: &Assignment) -> wire::Assignment {
    wire::Assignment {
        prefix: p.to_string(),
        owner: a.owner.clone(),
        site: a.site.clone(),
        description: a.description.clone(),
        revision: a.revision,
    }
}

/// Prefixes as text.
pub(crate) fn texts(prefixes: &[Prefix]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

fn prefix(text: &str) -> Result<Prefix, Status> {
    text.parse::<Prefix>().map_err(|e| Status::invalid_argument(e.to_string()))
}

fn some_prefix(text: &str) -> Result<Option<Prefix>, Status> {
    if text.is_empty() { Ok(None) } else { prefix(text).map(Some) }
}
