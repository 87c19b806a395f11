//! The real kernel.

use super::{FibConfig, FibKernel, InstalledRoute, NexthopObject, Op, RouteSpace};
use crate::KernelError;
use crate::message::Writer;
use crate::nexthop::{NexthopMessage, RTM_DELNEXTHOP, RTM_GETNEXTHOP, RTM_NEWNEXTHOP};
use crate::route::RTM_NEWROUTE;
use crate::socket::RequestSocket;
use net_types::Prefix;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

const COMPAT_MODE: &str = "/proc/sys/net/ipv4/nexthop_compat_mode";

/// Octets of trie nodes that await their release before the kernel makes a writer wait for every reader on every processor: half a
/// mebioctet as it comes, many waits for a full table, each as long as the longest look that somebody takes at it. One for the
/// whole machine: a container does not see it. Linux 5.2 and later.
const SYNC_MEM: &str = "/proc/sys/net/ipv4/fib_sync_mem";
const SYNC_MEM_LEAST: u64 = 8 << 20;

const READ_ROUTES: &str = "read routes";

/// The kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: RequestSocket,
    reading: Option<Reading>,
    config: FibConfig,
}

/// A dump under way, on a socket of its own: requests go on beside it, and closing it ends it.
#[derive(Debug)]
struct Reading {
    socket: RequestSocket,
    v4: bool,
}

impl Netlink {
    /// Opens the request socket; refused at once without `CAP_NET_ADMIN`, not at the first route.
    pub fn open(config: FibConfig) -> Result<Netlink, KernelError> {
        if !has_net_admin() {
            return Err(KernelError::Permission { what: "change routes".to_owned() });
        }
        Ok(Netlink { socket: RequestSocket::open()?, reading: None, config })
    }

    /// Room for answers, in octets; a socket without room loses them, which is what tests of lost answers want.
    pub fn set_receive_buffer(&mut self, octets: usize) {
        self.socket.set_receive_buffer(octets);
    }

    /// The port from which changes are asked for; announcements of what they bring about carry it.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Messages sent so far that ask the kernel to change something.
    pub fn changes(&self) -> u64 {
        self.socket.changes()
    }
}

fn write(out: &mut Writer, op: &Op, space: RouteSpace) {
    match op {
        Op::PutRoute { prefix, nexthop_id, replace } => space.put(out, *prefix, *nexthop_id, *replace),
        Op::DeleteRoute { prefix, metric } => RouteSpace { metric: *metric, ..space }.delete(out, *prefix),
        Op::PutNexthop { object, replace } => {
            out.begin(RTM_NEWNEXTHOP, NLM_F_CREATE | if *replace { NLM_F_REPLACE } else { NLM_F_EXCL });
            out.emit(&NexthopMessage::put(object));
            out.end();
        }
        Op::DeleteNexthop(id) => {
            out.begin(RTM_DELNEXTHOP, 0);
            out.emit(&NexthopMessage::delete(*id));
            out.end();
        }
    }
}

fn describe(op: &Op) -> String {
    match op {
        Op::PutNexthop { object, .. } => format!("add next-hop object {}", object.id),
        Op::DeleteNexthop(id) => format!("remove next-hop object {id}"),
        Op::PutRoute { prefix, nexthop_id, .. } => format!("add route {prefix} to next-hop object {nexthop_id}"),
        Op::DeleteRoute { prefix, .. } => format!("remove route {prefix}"),
    }
}

impl FibKernel for Netlink {
    fn dump_nexthops(&mut self) -> Result<Vec<NexthopObject>, KernelError> {
        let what = "read next-hop objects";
        let dumped = self.socket.dump(RTM_GETNEXTHOP, &NexthopMessage::dump(), what)?;
        let bodies = dumped.bodies.iter().filter(|(kind, _)| *kind == RTM_NEWNEXTHOP);
        let mut objects = Vec::new();
        for (_, body) in bodies {
            objects.push(NexthopObject::parse(body).map_err(|e| decode(what, &e))?);
        }
        // An interrupted dump may tell of an object twice.
        objects.sort_by_key(|o| o.id);
        objects.dedup_by_key(|o| o.id);
        Ok(objects)
    }

    fn begin_routes(&mut self) -> Result<(), KernelError> {
        let mut socket = RequestSocket::open()?;
        socket.ask(READ_ROUTES, |out| self.config.space().dump(out, true))?;
        self.reading = Some(Reading { socket, v4: true });
        Ok(())
    }

    fn next_routes(&mut self, routes: &mut Vec<InstalledRoute>) -> Result<bool, KernelError> {
        let Some(mut reading) = self.reading.take() else { return Ok(false) };
        let space = self.config.space();
        let more = reading.socket.answer(READ_ROUTES, |header, body| {
            if header.message_type == RTM_NEWROUTE {
                routes.extend(space.parse(body).map_err(|e| decode(READ_ROUTES, &e))?);
            }
            Ok(())
        });
        // Strict filtering by a table that does not exist yet is ENOENT: no routes.
        let more = !matches!(more, Err(KernelError::Refused { errno: libc::ENOENT, .. })) && more?;
        if !more {
            if !reading.v4 {
                return Ok(false);
            }
            reading.socket.ask(READ_ROUTES, |out| space.dump(out, false))?;
            reading.v4 = false;
        }
        self.reading = Some(reading);
        Ok(true)
    }

    fn lookup(&mut self, prefix: Prefix) -> Result<Option<InstalledRoute>, KernelError> {
        let (what, space) = ("look a route up", self.config.space());
        let mut found = None;
        self.socket.ask(what, |out| space.lookup(out, prefix))?;
        self.socket.answer(what, |_, body| {
            found = space.parse(body).map_err(|e| decode(what, &e))?.filter(|r| r.prefix == prefix);
            Ok(())
        })?;
        Ok(found)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<(usize, KernelError)> {
        let space = self.config.space();
        let failures = self.socket.run(ops, |out, op| write(out, op, space));
        let name = |i: usize| ops.get(i).map_or_else(String::new, describe);
        failures.into_iter().map(|(i, failure)| (i, failure.into_error(name(i)))).collect()
    }

    /// In compatibility mode (the default) the kernel announces every route of a next-hop object that changes: 1.3 s for
    /// a million routes instead of 50 µs. The switch is per namespace and needs a writable /proc/sys.
    fn prepare(&mut self) -> Vec<String> {
        raise(SYNC_MEM, SYNC_MEM_LEAST);
        match std::fs::read_to_string(COMPAT_MODE) {
            Ok(now) if now.trim() == "0" => Vec::new(),
            Ok(_) => match std::fs::write(COMPAT_MODE, "0") {
                Ok(()) => Vec::new(),
                Err(e) => vec![format!(
                    "{COMPAT_MODE}: {e}; changes of next hops will be slow: set net.ipv4.nexthop_compat_mode=0 with sysctl"
                )],
            },
            Err(e) => vec![format!("{COMPAT_MODE}: {e}; next-hop objects need Linux 5.8 or later")],
        }
    }
}

/// A switch that holds less than `least` holds that. Best effort: without it all is as before, only slower.
fn raise(path: &str, least: u64) {
    let now = std::fs::read_to_string(path).ok().and_then(|now| now.trim().parse::<u64>().ok());
    if now.is_some_and(|now| now < least) {
        let _ = std::fs::write(path, least.to_string());
    }
}

/// CapEff of this thread has bit 12. Unreadable /proc: let the kernel judge.
fn has_net_admin() -> bool {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    let Ok(status) = std::fs::read_to_string("/proc/thread-self/status") else { return true };
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_none_or(|caps| caps & CAP_NET_ADMIN != 0)
}

fn decode(what: &str, e: &netlink_packet_core::DecodeError) -> KernelError {
    KernelError::Socket { what: what.to_owned(), error: format!("cannot decode the kernel's answer: {e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_raised_never_lowered_and_never_made() {
        let path = std::env::temp_dir().join(format!("kernel-raise-{}", std::process::id()));
        let name = path.to_str().unwrap();
        raise(name, 8);
        assert!(!path.exists());
        for (before, after) in [("5\n", "8"), ("8\n", "8\n"), ("9\n", "9\n"), ("odd\n", "odd\n")] {
            std::fs::write(&path, before).unwrap();
            raise(name, 8);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
