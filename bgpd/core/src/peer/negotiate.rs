//! Our OPEN, and what becomes of the neighbour's: refused with a NOTIFICATION (RFC 4271 §6.2), or agreed on.
//!
//! Standards: RFC 4271 §4.2 and §6.2, RFC 4724 §3, RFC 4760 §8, RFC 5492, RFC 6286 §2.2, RFC 6793 §4.1, RFC 7313 §4,
//! RFC 7911 §4, RFC 8538 §2, RFC 8654 §4, RFC 8950 §4, RFC 9234 §4.

use bgp_wire::capability::code as capability_code;
use bgp_wire::notification::{code, open_error};
use bgp_wire::open::VERSION;
use bgp_wire::{AddPathMode, Capability, GracefulRestart, Notification, Open, Role, SessionContext};
use net_types::{Afi, Asn, Family, RouterId};

use crate::config::{AddPath, NeighborConfig, SendPaths};

/// Our side, as far as an OPEN needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ourselves {
    pub(super) local_as: Asn,
    pub(super) router_id: RouterId,
}

/// What our OPEN says of the process's last restart (RFC 4724 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Restart {
    /// R: the first decision is still to come.
    pub(super) restarting: bool,
    /// F: what the neighbour may hold of us is still forwarded.
    pub(super) forwarding_preserved: bool,
}

/// What two OPENs agreed on.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Negotiated {
    pub(super) our_open: Open,
    pub(super) peer_open: Open,
    pub(super) context: SessionContext,
    pub(super) hold_time: u16,
    /// Theirs, when we sent ours too.
    pub(super) graceful_restart: Option<GracefulRestart>,
    /// Both set the N bit (RFC 8538 §2).
    pub(super) notification_restart: bool,
    pub(super) enhanced_refresh: bool,
    pub(super) route_refresh: bool,
}

/// Why an OPEN is not acceptable.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Refusal {
    pub(super) notification: Notification,
    pub(super) what: String,
}

impl Refusal {
    fn new(subcode: u8, what: String) -> Refusal {
        Refusal { notification: Notification::new(code::OPEN, subcode), what }
    }
}

/// The OPEN we send. Without capabilities it is what a neighbour of RFC 1771 takes (RFC 5492 §3).
pub(super) fn our_open(us: Ourselves, config: &NeighborConfig, restart: Restart, with_capabilities: bool) -> Open {
    Open {
        version: VERSION,
        asn: us.local_as,
        my_as: us.local_as.as_two_octet(),
        hold_time: config.hold_time,
        bgp_identifier: us.router_id,
        capabilities: if with_capabilities { our_capabilities(us, config, restart) } else { Vec::new() },
    }
}

fn our_capabilities(us: Ourselves, config: &NeighborConfig, restart: Restart) -> Vec<Capability> {
    let mut list: Vec<_> = config.families.iter().map(|f| Capability::Multiprotocol(*f)).collect();
    list.push(Capability::RouteRefresh);
    if config.extended_next_hop && config.families.contains(&Family::IPV4_UNICAST) {
        list.push(Capability::ExtendedNextHop(vec![(Family::IPV4_UNICAST, Afi::IPV6)]));
    }
    if config.extended_message {
        list.push(Capability::ExtendedMessage);
    }
    list.extend(config.our_role().map(Capability::Role));
    if config.gr_helper || config.gr_restart_time > 0 {
        // RFC 4724 §3: no families means that we only help.
        let restarts = config.gr_restart_time > 0;
        list.push(Capability::GracefulRestart(GracefulRestart {
            restarting: restart.restarting && restarts,
            notification: config.gr_helper,
            restart_time: config.gr_restart_time.min(0x0fff),
            families: config.families.iter().filter(|_| restarts).map(|f| (*f, restart.forwarding_preserved)).collect(),
        }));
    }
    list.push(Capability::FourOctetAsn(us.local_as));
    // RFC 7911 §4: all families in one instance.
    if let Some(mode) = add_path_mode(config.add_path) {
        list.push(Capability::AddPath(config.families.iter().map(|f| (*f, mode)).collect()));
    }
    if config.enhanced_refresh {
        list.push(Capability::EnhancedRouteRefresh);
    }
    list
}

fn add_path_mode(config: AddPath) -> Option<AddPathMode> {
    match (config.receive, config.send != SendPaths::Best) {
        (false, false) => None,
        (true, false) => Some(AddPathMode::Receive),
        (false, true) => Some(AddPathMode::Send),
        (true, true) => Some(AddPathMode::Both),
    }
}

/// Judges the neighbour's OPEN against the configuration and against ours.
pub(super) fn negotiate(
    us: Ourselves,
    config: &NeighborConfig,
    ours: Open,
    theirs: Open,
) -> Result<Negotiated, Refusal> {
    let ebgp = config.remote_as != us.local_as;
    // RFC 4271 §6.2.
    if theirs.asn != config.remote_as {
        let what = format!("its OPEN says AS {}, the configuration says AS {}", theirs.asn, config.remote_as);
        return Err(Refusal::new(open_error::BAD_PEER_AS, what));
    }
    // RFC 6286 §2.2: within an AS identifiers are unique; across they need not be.
    if !ebgp && theirs.bgp_identifier == us.router_id {
        return Err(Refusal::new(
            open_error::BAD_BGP_IDENTIFIER,
            format!("its BGP Identifier {} is our own", theirs.bgp_identifier),
        ));
    }
    check_role(config, &ours, &theirs)?;
    let families = common_families(config, &ours, &theirs)?;
    let (our_gr, their_gr) = (graceful_restart(&ours), graceful_restart(&theirs));
    let both = |wanted: fn(&Capability) -> bool| has(&ours, wanted) && has(&theirs, wanted);
    let context = SessionContext {
        ebgp,
        four_octet_as: both(|c| matches!(c, Capability::FourOctetAsn(_))),
        extended_message: both(|c| matches!(c, Capability::ExtendedMessage)),
        // RFC 7911 §5: the one offers to send, the other to receive.
        add_path_receive: add_paths(&families, &ours, &theirs),
        add_path_send: add_paths(&families, &theirs, &ours),
        extended_next_hop: families
            .iter()
            .copied()
            .filter(|f| takes_ipv6_next_hop(&ours, *f) && takes_ipv6_next_hop(&theirs, *f))
            .collect(),
        families,
    };
    Ok(Negotiated {
        context,
        // RFC 4271 §4.2: the smaller of the two.
        hold_time: ours.hold_time.min(theirs.hold_time),
        notification_restart: our_gr.is_some_and(|g| g.notification) && their_gr.is_some_and(|g| g.notification),
        graceful_restart: our_gr.and(their_gr).cloned(),
        enhanced_refresh: both(|c| matches!(c, Capability::EnhancedRouteRefresh)),
        route_refresh: both(|c| matches!(c, Capability::RouteRefresh)),
        our_open: ours,
        peer_open: theirs,
    })
}

/// RFC 9234 §4.2.
fn check_role(config: &NeighborConfig, ours: &Open, theirs: &Open) -> Result<(), Refusal> {
    let Some(our_role) = config.our_role() else { return Ok(()) };
    let mismatch = |what: String| Err(Refusal::new(open_error::ROLE_MISMATCH, what));
    let mut roles = theirs.capabilities.iter().filter_map(claimed_role);
    let Some(their_role) = roles.next() else {
        if config.role_strict {
            return mismatch(format!(
                "it sends no BGP Role, and role_strict asks for the counterpart of our {our_role}"
            ));
        }
        return Ok(());
    };
    if let Some(other) = roles.find(|r| *r != their_role) {
        return mismatch(format!("it claims two BGP Roles, {} and {}", role_name(their_role), role_name(other)));
    }
    let we_sent_it = has(ours, |c| matches!(c, Capability::Role(_)));
    // A value without a name is in no pair of the table, so it corresponds to nothing.
    if we_sent_it && !Role::from_u8(their_role).is_some_and(|theirs| our_role.matches(theirs)) {
        return mismatch(format!("it claims the BGP Role {} where ours is {our_role}", role_name(their_role)));
    }
    Ok(())
}

/// The value of a BGP Role capability, be it assigned or not.
fn claimed_role(capability: &Capability) -> Option<u8> {
    match capability {
        Capability::Role(role) => Some(role.to_u8()),
        Capability::Unknown { code: capability_code::ROLE, value } => value.first().copied(),
        _ => None,
    }
}

fn role_name(value: u8) -> String {
    Role::from_u8(value).map_or_else(|| format!("{value} (unassigned)"), |role| role.to_string())
}

/// RFC 4760 §8: what both offer; who offers nothing means IPv4 unicast.
fn common_families(config: &NeighborConfig, ours: &Open, theirs: &Open) -> Result<Vec<Family>, Refusal> {
    let (we, they) = (offered_families(ours), offered_families(theirs));
    let common: Vec<_> = we.iter().copied().filter(|f| they.contains(f) && config.families.contains(f)).collect();
    if common.is_empty() {
        // RFC 5492 §3 and §5: the data names the capabilities we would have needed.
        let data: Vec<u8> = config
            .families
            .iter()
            .flat_map(|f| {
                let [high, low] = f.afi.0.to_be_bytes();
                [1, 4, high, low, 0, f.safi.0]
            })
            .collect();
        let list = |families: &[Family]| families.iter().map(Family::to_string).collect::<Vec<_>>().join(", ");
        let what = format!("no family in common: it offers {}, we {}", list(&they), list(&config.families));
        return Err(Refusal {
            notification: Notification::with_data(code::OPEN, open_error::UNSUPPORTED_CAPABILITY, &data),
            what,
        });
    }
    Ok(common)
}

fn offered_families(open: &Open) -> Vec<Family> {
    let mut families = Vec::new();
    for capability in &open.capabilities {
        if let Capability::Multiprotocol(family) = capability
            && !families.contains(family)
        {
            families.push(*family);
        }
    }
    if families.is_empty() {
        families.push(Family::IPV4_UNICAST);
    }
    families
}

fn takes_ipv6_next_hop(open: &Open, family: Family) -> bool {
    has(open, |c| matches!(c, Capability::ExtendedNextHop(list) if list.contains(&(family, Afi::IPV6))))
}

/// Families in which `receiver` takes the several paths that `sender` may tell it.
fn add_paths(families: &[Family], receiver: &Open, sender: &Open) -> Vec<Family> {
    let offers = |open: &Open, family: Family, one: AddPathMode| {
        has(
            open,
            |c| matches!(c, Capability::AddPath(list) if list.contains(&(family, one)) || list.contains(&(family, AddPathMode::Both))),
        )
    };
    let both = |f: &Family| offers(receiver, *f, AddPathMode::Receive) && offers(sender, *f, AddPathMode::Send);
    families.iter().copied().filter(both).collect()
}

/// RFC 4724 §3: with several, the last counts.
fn graceful_restart(open: &Open) -> Option<&GracefulRestart> {
    open.capabilities.iter().rev().find_map(|c| match c {
        Capability::GracefulRestart(restart) => Some(restart),
        _ => None,
    })
}

fn has(open: &Open, wanted: impl Fn(&Capability) -> bool) -> bool {
    open.capabilities.iter().any(wanted)
}
