//! bgpd's messages for people.

use crate::output::{Cell, Page, Render, Row, Tone, duration};
use api::bgpd::*;
use serde::Serialize;

/// The answer to `noc neighbor enable|disable`.
#[derive(Serialize)]
pub(crate) struct NeighborSet {
    pub(crate) neighbor: String,
    pub(crate) enabled: bool,
}

impl Render for NeighborSet {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        let state = if self.enabled { "enabled" } else { "disabled" };
        page.line(format!("{} is {state}", self.neighbor))
    }
}

/// The answer to `noc neighbor drain|undrain`.
#[derive(Serialize)]
pub(crate) struct NeighborDrained {
    pub(crate) neighbor: String,
    pub(crate) drained: bool,
}

impl Render for NeighborDrained {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        page.line(match self.drained {
            true => format!(
                "{} is drained: its routes are the last choice, and it is asked to send elsewhere (GRACEFUL_SHUTDOWN)",
                self.neighbor
            ),
            false => format!("{} is in use again", self.neighbor),
        })
    }
}

impl Render for Summary {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        let sessions = format!("{} of {} established", self.neighbors_established, self.neighbors_total);
        let all = self.neighbors_established == self.neighbors_total;
        let restarting = if self.restarting { "waiting for neighbours' End-of-RIB (RFC 4724)" } else { "" };
        page.fields(vec![
            ("router", Cell::toned(format!("{} ({})", self.hostname, self.site), Tone::Strong)),
            ("bgpd", format!("{}, up {}", self.version, duration(self.uptime_seconds)).into()),
            ("AS / identifier", format!("{} / {}", self.local_as, self.router_id).into()),
            ("sessions", Cell::toned(sessions, if all { Tone::Good } else { Tone::Bad })),
            ("restarting", Cell::toned(restarting, Tone::Bad)),
            ("starting", Cell::toned(self.max_med.as_ref().map_or_else(String::new, starting), Tone::Bad)),
            ("ipamd", self.ipam_state.as_str().into()),
            ("announced", format!("{} (revision {})", or_none(&self.announced), self.announcement_revision).into()),
            ("configuration", format!("generation {}", self.config_generation).into()),
            ("last reload", Cell::toned(self.last_reload_error.as_str(), Tone::Bad)),
        ])?;
        page.line("")?;
        page.table(&self.families)
    }
}

/// Why own prefixes are the last resort just now, and until when.
fn starting(max: &MaxMed) -> String {
    let MaxMed { med, neighbors_in, neighbors_total, fib_pending, seconds_left } = max;
    let waits = match fib_pending {
        0 => format!("{neighbors_in} of {neighbors_total} neighbours' End-of-RIB"),
        pending => format!("{pending} routes on their way to the kernel"),
    };
    format!("own prefixes at MED {med} until the table is in ({waits}), at most {seconds_left} s")
}

impl Row for FamilyCount {
    const COLUMNS: &'static [&'static str] = &["FAMILY", "PREFIXES", "PATHS", "IN KERNEL", "PENDING"];
    fn cells(&self) -> Vec<Cell> {
        let pending =
            Cell::toned(self.fib_pending.to_string(), if self.fib_pending > 0 { Tone::Bad } else { Tone::Plain });
        vec![self.family.as_str().into(), self.prefixes.into(), self.paths.into(), self.fib_installed.into(), pending]
    }
}

impl Render for Memory {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        let tables: u64 = self.parts.iter().map(|p| p.octets).sum();
        let each = |octets: u64| match octets.checked_div(self.paths) {
            Some(each) => format!("{}, {each} octets a path", mebibytes(octets)),
            None => mebibytes(octets),
        };
        page.fields(vec![
            ("resident", format!("{}, at most {} so far", mebibytes(self.resident), mebibytes(self.peak)).into()),
            ("allocated", self.allocated.map_or_else(String::new, mebibytes).into()),
            ("kept back", self.allocator_free.map_or_else(String::new, mebibytes).into()),
            ("tables", each(tables).into()),
            ("prefixes / paths", format!("{} / {}", self.prefixes, self.paths).into()),
        ])?;
        page.line("")?;
        page.table(&self.parts)
    }
}

fn mebibytes(octets: u64) -> String {
    let tenths = (octets * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

impl Row for MemoryPart {
    const COLUMNS: &'static [&'static str] = &["PART", "OCTETS"];
    fn cells(&self) -> Vec<Cell> {
        vec![self.part.as_str().into(), self.octets.into()]
    }
}

impl Row for Neighbor {
    const COLUMNS: &'static [&'static str] =
        &["NEIGHBOR", "ADDRESS", "AS", "RELATION", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "SENT", "LAST ERROR"];
    fn cells(&self) -> Vec<Cell> {
        let sum = |of: fn(&NeighborFamily) -> u64| -> Cell { self.families.iter().map(of).sum::<u64>().into() };
        let up = self.state == "Established";
        vec![
            self.name.as_str().into(),
            self.address.as_str().into(),
            self.remote_as.into(),
            self.relation.as_str().into(),
            state(self),
            duration(self.state_seconds).into(),
            sum(|f| f.received),
            sum(|f| f.accepted),
            sum(|f| f.sent),
            // What ended the session before this one is history.
            if up { Cell::default() } else { self.last_error.as_str().into() },
        ]
    }
}

impl Row for BfdSession {
    const COLUMNS: &'static [&'static str] =
        &["NEIGHBOR", "PEER", "INTERFACE", "STATE", "SINCE", "REMOTE", "SENDS", "DETECTS", "FAILED", "DIAGNOSTIC"];
    fn cells(&self) -> Vec<Cell> {
        let milliseconds = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
        let tone = if self.state == "Up" { Tone::Good } else { Tone::Bad };
        let over = if self.multihop { "(multihop)" } else { self.interface.as_str() };
        vec![
            self.neighbor.as_str().into(),
            self.peer.as_str().into(),
            over.into(),
            Cell::toned(self.state.as_str(), tone),
            duration(self.state_seconds).into(),
            self.remote_state.as_str().into(),
            self.transmit_interval.map_or_else(|| "nothing".into(), milliseconds).into(),
            milliseconds(self.detection_time).into(),
            self.failures.into(),
            if self.state == "Up" { Cell::default() } else { self.diagnostic.as_str().into() },
        ]
    }
}

fn state(n: &Neighbor) -> Cell {
    match n.state.as_str() {
        "Established" if n.drained => Cell::toned("Established, drained", Tone::Strong),
        "Established" => Cell::toned("Established", Tone::Good),
        _ if !n.enabled => Cell::toned("disabled", Tone::Strong),
        other => Cell::toned(other, Tone::Bad),
    }
}

impl Render for Neighbor {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        let dynamic = if self.dynamic { ", dynamic" } else { "" };
        page.fields(vec![
            ("neighbor", Cell::toned(self.name.as_str(), Tone::Strong)),
            ("description", self.description.as_str().into()),
            ("relation", format!("{}, AS {}{dynamic}", self.relation, self.remote_as).into()),
            ("state", state(self)),
            ("since", duration(self.state_seconds).into()),
            ("remote", endpoint(&self.address, self.remote_port).into()),
            ("local", endpoint(&self.local_address, self.local_port).into()),
            ("identifier", self.bgp_identifier.as_str().into()),
            ("hold time", format!("{} s", self.hold_time).into()),
            ("established", format!("{} times", self.established_transitions).into()),
            ("messages", format!("{} received, {} sent", self.messages_received, self.messages_sent).into()),
            ("updates", format!("{} received, {} sent", self.updates_received, self.updates_sent).into()),
            (
                "bad updates",
                if self.update_errors > 0 {
                    Cell::toned(format!("{} (RFC 7606)", self.update_errors), Tone::Bad)
                } else {
                    Cell::default()
                },
            ),
            ("we offer", self.capabilities_sent.join(", ").into()),
            ("it offers", self.capabilities_received.join(", ").into()),
            ("last error", self.last_error.as_str().into()),
        ])?;
        if self.families.is_empty() {
            return Ok(());
        }
        page.line("")?;
        page.table(&self.families)
    }
}

impl Row for NeighborFamily {
    const COLUMNS: &'static [&'static str] = &["FAMILY", "RECEIVED", "ACCEPTED", "SENT", "STALE", "END-OF-RIB"];
    fn cells(&self) -> Vec<Cell> {
        let end = if self.end_of_rib_received { "received" } else { "awaited" };
        let numbers = [self.received, self.accepted, self.sent, self.stale].map(Cell::from);
        std::iter::once(self.family.as_str().into()).chain(numbers).chain([end.into()]).collect()
    }
}

impl Row for Route {
    const COLUMNS: &'static [&'static str] =
        &["", "PREFIX", "NEXT HOP", "FROM", "PREF", "MED", "AS PATH", "O", "AGE", "REMARK"];
    fn cells(&self) -> Vec<Cell> {
        let mut mark = String::new();
        mark.push(if self.best { '>' } else { ' ' });
        if self.stale {
            mark.push('S');
        }
        let number = |n: Option<u32>| n.map_or_else(String::new, |n| n.to_string());
        let from = if self.neighbor.is_empty() { &self.source } else { &self.neighbor };
        vec![
            Cell::toned(mark, Tone::Strong),
            Cell::toned(destination(self), if self.best { Tone::Strong } else { Tone::Plain }),
            self.next_hop.as_str().into(),
            from.as_str().into(),
            number(self.local_pref).into(),
            number(self.med).into(),
            self.as_path.as_str().into(),
            // IGP, EGP, incomplete: i, e, ?
            match self.origin.to_ascii_lowercase().as_str() {
                "igp" => "i".into(),
                "egp" => "e".into(),
                "incomplete" => "?".into(),
                other => other.into(),
            },
            duration(self.age_seconds).into(),
            match self.reason.as_str() {
                "" => backup(&self.backup, &self.shared_fate),
                reason => Cell::toned(reason, Tone::Bad),
            },
        ]
    }
}

/// What takes over, and whether it may be lost with what is in use.
fn backup(hop: &str, shared_fate: &str) -> Cell {
    match (hop, shared_fate) {
        ("", _) => Cell::toned("", Tone::Plain),
        (hop, "") => Cell::toned(format!("backup: {hop}"), Tone::Plain),
        (hop, shared) => Cell::toned(format!("backup: {hop} ({shared})"), Tone::Bad),
    }
}

/// The prefix, and which path to it where the session tells several (RFC 7911).
fn destination(route: &Route) -> String {
    match route.path_id {
        Some(id) => format!("{} path {id}", route.prefix),
        None => route.prefix.clone(),
    }
}

impl Row for FibRoute {
    const COLUMNS: &'static [&'static str] = &["PREFIX", "STATE", "NEXTHOP ID", "NEXT HOPS", "REMARK"];
    fn cells(&self) -> Vec<Cell> {
        let tone = if self.state == "installed" { Tone::Good } else { Tone::Bad };
        vec![
            self.prefix.as_str().into(),
            Cell::toned(self.state.as_str(), tone),
            self.nexthop_id.into(),
            self.next_hops.join(", ").into(),
            match self.error.as_str() {
                "" => backup(&self.backup, &self.shared_fate),
                error => Cell::toned(error, Tone::Bad),
            },
        ]
    }
}

impl Row for NextHopObject {
    const COLUMNS: &'static [&'static str] = &["ID", "ROUTES", "IN USE", "BACKUP", "LOST", "STATE"];
    fn cells(&self) -> Vec<Cell> {
        let backup = match (self.backup.as_str(), self.shared_fate.as_str()) {
            ("", _) if self.form == "discard" => Cell::default(),
            ("", _) => Cell::toned("none", Tone::Bad),
            (backup, "") => backup.into(),
            (backup, why) => Cell::toned(format!("{backup} ({why})"), Tone::Bad),
        };
        let active = if self.form == "discard" { "discard".to_owned() } else { self.active.join(", ") };
        let (state, tone) = match (self.installed, self.error.as_str()) {
            (true, _) => ("in the kernel", Tone::Good),
            (false, "") => ("pending", Tone::Bad),
            (false, why) => (why, Tone::Bad),
        };
        vec![
            self.id.into(),
            self.routes.into(),
            active.into(),
            backup,
            Cell::toned(self.lost.join(", "), Tone::Bad),
            Cell::toned(state, tone),
        ]
    }
}

impl Render for ExplainRouteResponse {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        page.line(format!("{}: {} paths", self.prefix, self.paths.len()))?;
        page.table(&self.paths)?;
        page.line(format!("\nforwarding: {}", self.forwarding))
    }
}

impl Row for ExplainedPath {
    const COLUMNS: &'static [&'static str] =
        &["OUTCOME", "FROM", "NEXT HOP", "AS PATH", "DECIDED AT", "THIS PATH", "THE BEST"];
    fn cells(&self) -> Vec<Cell> {
        let route = self.route.clone().unwrap_or_default();
        let tone = if self.outcome == "best" { Tone::Good } else { Tone::Plain };
        let mut from = if route.neighbor.is_empty() { route.source } else { route.neighbor };
        if let Some(id) = route.path_id {
            from = format!("{from} path {id}");
        }
        vec![
            Cell::toned(self.outcome.as_str(), tone),
            from.into(),
            route.next_hop.into(),
            route.as_path.into(),
            self.step.as_str().into(),
            self.this_value.as_str().into(),
            self.best_value.as_str().into(),
        ]
    }
}

impl Render for ExplainExportResponse {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        let verdict = if self.exported { "is sent to" } else { "is NOT sent to" };
        page.line(format!("{} {verdict} {}", self.prefix, self.neighbor))?;
        page.table(&self.steps)?;
        match &self.route {
            None => Ok(()),
            Some(route) => {
                page.line("\nas sent:")?;
                page.table(std::slice::from_ref(route))
            }
        }
    }
}

impl Row for ExplainStep {
    const COLUMNS: &'static [&'static str] = &["", "RULE", "DETAIL"];
    fn cells(&self) -> Vec<Cell> {
        let (word, tone) = if self.pass { ("pass", Tone::Good) } else { ("STOP", Tone::Bad) };
        vec![Cell::toned(word, tone), self.rule.as_str().into(), self.detail.as_str().into()]
    }
}

impl Render for ReloadResponse {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        page.line(format!("configuration generation {}", self.config_generation))?;
        self.changes.iter().try_for_each(|change| page.line(format!("  {change}")))
    }
}

fn endpoint(address: &str, port: u32) -> String {
    match (address, port) {
        ("", _) => String::new(),
        (_, 0) => address.to_owned(),
        _ if address.contains(':') => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}

fn or_none(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
