//! What the log says of an UPDATE that was wrong and did not end the session (RFC 7606 §6): the routes it concerns, and
//! the octets of the attribute in question, cut where one line would get too long.

use std::fmt::Write as _;

use bgp_wire::Update;
use net_types::Monotime;
use tracing::warn;

use super::sparing::Sparing;

/// Routes named in one line.
const ROUTES: usize = 16;
/// Octets of an attribute shown in one line.
const OCTETS: usize = 256;

/// Writes a line for each error of the message, as far as `sparing` lets it.
pub fn report(sparing: &mut Sparing, now: Monotime, neighbor: &str, update: &Update) {
    for e in &update.errors {
        let Some(withheld) = sparing.admit(now) else { continue };
        let (routes, octets) = (routes(update), e.raw.slice(..e.raw.len().min(OCTETS)));
        warn!(%neighbor, attribute = e.code, clause = e.clause, verdict = ?e.verdict, withheld, %routes,
            octets = %format_args!("{octets:x}"), "malformed UPDATE survived: {}", e.what);
    }
}

/// The routes of a message, announced or withdrawn.
fn routes(update: &Update) -> String {
    let announced = update.reach.iter().flat_map(|r| &r.nlri);
    let all = announced.chain(update.unreach.iter().flat_map(|u| &u.nlri));
    let mut text = String::new();
    for nlri in all.clone().take(ROUTES) {
        let gap = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{gap}{}", nlri.prefix);
    }
    match all.count().saturating_sub(ROUTES) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use bgp_wire::{Nlri, Unreach};
    use net_types::{Family, Prefix};

    use super::*;

    fn withdrawing(prefixes: impl Iterator<Item = String>) -> Update {
        let nlri = prefixes.map(|p| Nlri { prefix: p.parse::<Prefix>().unwrap(), path_id: 0 }).collect();
        Update { unreach: [Unreach { family: Family::IPV4_UNICAST, nlri }].into(), ..Update::default() }
    }

    #[test]
    fn rfc7606_6_the_routes_concerned_are_named() {
        let two = withdrawing(["192.0.2.0/24", "198.51.100.0/24"].into_iter().map(String::from));
        assert_eq!(routes(&two), "192.0.2.0/24 198.51.100.0/24");
        assert_eq!(routes(&Update::default()), "");
        let many = routes(&withdrawing((0..20).map(|i| format!("203.0.113.{i}/32"))));
        assert!(many.ends_with("203.0.113.15/32 and 4 more"), "{many}");
    }
}
