//! The real kernel.

use super::{FibConfig, FibKernel, InstalledRoute, NexthopObject, Op, RouteSpace};
use crate::KernelError;
use crate::nexthop::{NexthopMessage, RTM_DELNEXTHOP, RTM_GETNEXTHOP, RTM_NEWNEXTHOP};
use crate::socket::{Request, RequestSocket};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const COMPAT_MODE: &str = "/proc/sys/net/ipv4/nexthop_compat_mode";

/// The kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: RequestSocket,
    config: FibConfig,
}

impl Netlink {
    /// Opens the request socket; refused at once without `CAP_NET_ADMIN`, not at the first route.
    pub fn open(config: FibConfig) -> Result<Netlink, KernelError> {
        if !has_net_admin() {
            return Err(KernelError::Permission { what: "change routes".to_owned() });
        }
        Ok(Netlink { socket: RequestSocket::open()?, config })
    }

    fn request(&self, op: &Op) -> Request<'static> {
        let space = self.config.space();
        match op {
            Op::PutNexthop { object, replace } => Request {
                message_type: RTM_NEWNEXTHOP,
                flags: NLM_F_CREATE | if *replace { NLM_F_REPLACE } else { NLM_F_EXCL },
                what: format!("add next-hop object {}", object.id),
                body: Box::new(NexthopMessage::put(object)),
            },
            Op::DeleteNexthop(id) => Request {
                message_type: RTM_DELNEXTHOP,
                flags: 0,
                what: format!("remove next-hop object {id}"),
                body: Box::new(NexthopMessage::delete(*id)),
            },
            Op::PutRoute { prefix, nexthop_id, replace } => Request {
                message_type: RTM_NEWROUTE,
                flags: NLM_F_CREATE | if *replace { NLM_F_REPLACE } else { NLM_F_EXCL },
                what: format!("add route {prefix} to next-hop object {nexthop_id}"),
                body: Box::new(space.put(*prefix, *nexthop_id)),
            },
            Op::DeleteRoute { prefix, metric } => Request {
                message_type: RTM_DELROUTE,
                flags: 0,
                what: format!("remove route {prefix}"),
                body: Box::new(RouteSpace { metric: *metric, ..space }.delete(*prefix)),
            },
        }
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

    fn dump_routes(&mut self) -> Result<Vec<InstalledRoute>, KernelError> {
        let what = "read routes";
        let space = self.config.space();
        let mut routes = Vec::new();
        for v4 in [true, false] {
            let dumped = match self.socket.dump(RTM_GETROUTE, &space.dump(v4), what) {
                // Strict filtering by a table that does not exist yet is ENOENT: no routes.
                Err(KernelError::Refused { errno: libc::ENOENT, .. }) => continue,
                other => other?,
            };
            for (kind, body) in &dumped.bodies {
                if *kind == RTM_NEWROUTE {
                    routes.extend(space.parse(body).map_err(|e| decode(what, &e))?);
                }
            }
        }
        routes.sort_by_key(|r| (r.prefix, r.metric));
        routes.dedup_by_key(|r| (r.prefix, r.metric));
        Ok(routes)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), KernelError>> {
        let requests: Vec<_> = ops.iter().map(|op| self.request(op)).collect();
        self.socket.run(&requests)
    }

    /// In compatibility mode (the default) the kernel announces every route of a next-hop object that changes: 1.3 s for
    /// a million routes instead of 50 µs. The switch is per namespace and needs a writable /proc/sys.
    fn prepare(&mut self) -> Vec<String> {
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
