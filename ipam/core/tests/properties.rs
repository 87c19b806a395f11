//! The invariants of the crate's head, under random commands. A small universe makes collisions the ordinary case.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

use ipam_core::{ASSOCIATION, Command, State};
use net_types::Prefix;
use proptest::prelude::*;
use std::net::IpAddr;

const SITES: [&str; 2] = ["paris", "marseille"];
const OWNERS: [&str; 3] = ["dept-13", "dept-75", ASSOCIATION];

/// Any prefix of 192.0.2.0/23 (a holding is its lower half) or 2001:db8::/46, down to 32 or 50 bits.
fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (any::<u32>(), 23u8..=32).prop_map(|(bits, len)| {
        let addr = 0xc000_0200 | bits & 0x1ff;
        Prefix::new(IpAddr::V4(addr.into()), len).unwrap()
    });
    let v6 = (any::<u128>(), 46u8..=50).prop_map(|(bits, len)| {
        let addr = 0x2001_0db8 << 96 | bits & (0x3ffff << 78) & ((1 << 82) - 1);
        Prefix::new(IpAddr::V6(addr.into()), len).unwrap()
    });
    prop_oneof![3 => v4, 1 => v6]
}

fn owner() -> impl Strategy<Value = String> {
    prop::sample::select(&OWNERS[..]).prop_map(str::to_owned)
}

fn some_sites() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(&SITES[..]).prop_map(str::to_owned), 0..=2)
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "[ab]"]
}

fn command() -> impl Strategy<Value = Command> {
    let none = String::new;
    prop_oneof![
        1 => prefix().prop_map(move |prefix| Command::AddHolding { prefix, source: none() }),
        4 => (prefix(), owner(), key()).prop_map(move |(prefix, owner, request_id)| Command::Assign {
            prefix, owner, site: none(), description: none(), request_id
        }),
        4 => (24u8..=50, any::<bool>(), prop::option::of(prefix()), owner(), key()).prop_map(
            move |(length, is_v4, within, owner, request_id)| Command::Allocate {
                length, is_v4, within, owner, site: none(), description: none(), request_id
            }
        ),
        4 => (prefix(), prop_oneof![owner(), Just(none())]).prop_map(|(prefix, owner)| Command::Release { prefix, owner }),
        3 => (prefix(), some_sites(), prop_oneof![owner(), Just(none())])
            .prop_map(|(prefix, sites, owner)| Command::Announce { prefix, sites, owner }),
        2 => (prefix(), some_sites()).prop_map(|(prefix, sites)| Command::Withdraw { prefix, sites }),
    ]
}

/// The number of addresses in a set of prefixes, in units of a /64 for IPv6 and of a host for IPv4.
fn size<'a>(prefixes: impl IntoIterator<Item = &'a Prefix>) -> u128 {
    prefixes.into_iter().map(|p| 1u128 << (if p.is_v4() { 32 } else { 64 } - p.len())).sum()
}

/// The assignments directly inside `outer` (`None`: directly inside the holdings).
fn outermost(state: &State, outer: Option<Prefix>) -> Vec<Prefix> {
    let inside = |p: &Prefix| outer.is_none_or(|o| o != *p && o.covers(p));
    let all: Vec<Prefix> = state.assignments().keys().copied().filter(inside).collect();
    all.iter().copied().filter(|p| !all.iter().any(|q| q != p && q.covers(p))).collect()
}

fn check(state: &State) {
    let holdings: Vec<Prefix> = state.holdings().keys().copied().collect();
    for (i, a) in holdings.iter().enumerate() {
        assert!(!holdings[i + 1..].iter().any(|b| a.overlaps(b)), "holdings overlap");
    }
    for (p, a) in state.assignments() {
        assert!(holdings.iter().any(|h| h.covers(p)), "{p} is outside");
        for (q, b) in state.assignments() {
            assert!(!p.overlaps(q) || a.owner == b.owner, "{p} {q}");
        }
        // The same partition inside the assignment, if anything is booked there.
        let (children, free) = (outermost(state, Some(*p)), state.free(Some(*p)));
        let expected = if children.is_empty() { size([p]) } else { size([p]) - size(&children) };
        assert_eq!(size(&free), expected, "inside {p}: {free:?} {children:?}");
        assert!(!free.iter().any(|f| !p.covers(f) || children.iter().any(|c| c.overlaps(f))), "inside {p}");
    }
    let (free, booked) = (state.free(None), outermost(state, None));
    assert_eq!(size(&free) + size(&booked), size(&holdings), "free and booked make up what we hold");
    for (i, f) in free.iter().enumerate() {
        assert!(!free[i + 1..].iter().chain(&booked).any(|o| o.overlaps(f)), "{f} is not free");
        assert!(holdings.iter().any(|h| h.covers(f)), "{f} is not ours");
    }
    for (p, a) in state.announcements() {
        assert!(!a.sites.is_empty() && holdings.iter().any(|h| h.covers(p)));
        assert!(p.len() <= if p.is_v4() { 24 } else { 48 });
        let backed = state.assignments().iter().any(|(q, b)| q.covers(p) && b.owner == a.owner);
        assert!(a.owner == ASSOCIATION || backed, "{p} is announced for {} without its having it", a.owner);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_commands_keep_every_invariant(commands in prop::collection::vec(command(), 1..60)) {
        let mut state = State::default();
        let mut log = Vec::new();
        let mut run = |state: &mut State, command: &Command| {
            let Ok(decision) = state.decide(command) else { return };
            for event in decision.events {
                state.apply(&event).expect("what was decided can happen");
                log.push(event);
            }
            if let (Command::Assign { owner, .. } | Command::Allocate { owner, .. }, Some(p)) = (command, decision.subject) {
                assert_eq!(&state.assignments()[&p].owner, owner);
            }
            // Saying it again changes nothing; but an allocation without a key is a new wish, and what is released
            // may still lie around or inside something booked, of which a release says so.
            let again = match command {
                Command::Allocate { request_id, .. } => !request_id.is_empty(),
                Command::Release { .. } => false,
                _ => true,
            };
            if again {
                assert_eq!(state.decide(command).map(|d| d.events), Ok(vec![]), "{command:?}");
            }
        };
        for prefix in ["192.0.2.0/24", "2001:db8::/47"] {
            run(&mut state, &Command::AddHolding { prefix: prefix.parse().unwrap(), source: String::new() });
        }
        for name in SITES {
            run(&mut state, &Command::AddSite { name: name.into(), description: String::new() });
        }
        for command in &commands {
            run(&mut state, command);
            check(&state);
        }
        let mut again = State::default();
        for event in &log {
            let text = serde_json::to_string(event).unwrap();
            again.apply(&serde_json::from_str(&text).unwrap()).unwrap();
        }
        prop_assert_eq!(again, state);
    }
}
