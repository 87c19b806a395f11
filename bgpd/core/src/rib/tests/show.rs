//! What people are shown.

use super::*;

fn filled() -> Lab {
    let mut lab = Lab::new();
    lab.up(1, Relation::Customer);
    lab.up(2, Relation::Customer);
    for prefix in ["203.0.113.0/28", "203.0.113.16/28", "203.0.113.128/25", "198.51.100.128/28"] {
        lab.announce(1, prefix, &[64501, 64510]);
    }
    lab.announce(2, "203.0.113.16/28", &[64502]);
    lab.send(2, announce(&["2001:db8:900::/48"], "2001:db8:1::2", attrs(&[64502])));
    lab
}

fn list(lab: &Lab, table: RouteTable, filter: RouteFilter, page: usize) -> Vec<String> {
    lab.list(table, &filter, page).iter().map(|e| format!("{} {}", e.prefix, e.peer.0)).collect()
}

#[test]
fn pages_hold_everything_once_in_order_whatever_their_size() {
    let lab = filled();
    let loc = RouteTable::Loc { all_paths: false };
    let whole =
        ["198.51.100.128/28 1", "203.0.113.0/28 1", "203.0.113.16/28 2", "203.0.113.128/25 1", "2001:db8:900::/48 2"];
    for page in [1, 2, 3, 100] {
        assert_eq!(list(&lab, loc, RouteFilter::default(), page), whole, "page of {page}");
        let within = RouteFilter { prefix: Some(p("203.0.113.0/25")), longer: true, ..RouteFilter::default() };
        assert_eq!(list(&lab, loc, within, page), ["203.0.113.0/28 1", "203.0.113.16/28 2"]);
        let v6 = RouteFilter { family: Some(V6), ..RouteFilter::default() };
        assert_eq!(list(&lab, loc, v6, page), ["2001:db8:900::/48 2"]);
        let every = list(&lab, RouteTable::Loc { all_paths: true }, RouteFilter::default(), page);
        assert_eq!(every.len(), 6);
        assert_eq!(every[2..4], ["203.0.113.16/28 2", "203.0.113.16/28 1"], "best first");
        assert_eq!(list(&lab, RouteTable::In(PeerId(2)), RouteFilter::default(), page).len(), 2);
        assert_eq!(list(&lab, RouteTable::Out(PeerId(2)), RouteFilter::default(), page).len(), 3);
        let wants = lab.list(RouteTable::Fib, &RouteFilter::default(), page);
        assert!(wants.iter().all(|e| lab.rib.fib_entry(&e.prefix).is_some_and(|f| f.state == FibState::Installed)));
        assert_eq!(wants.len(), 5);
    }
}

#[test]
fn an_address_asks_for_its_longest_match() {
    let lab = filled();
    let host = |a| RouteFilter { prefix: Some(p(a)), longest_match: true, ..RouteFilter::default() };
    let loc = RouteTable::Loc { all_paths: false };
    assert_eq!(list(&lab, loc, host("203.0.113.17/32"), 10), ["203.0.113.16/28 2"]);
    assert_eq!(list(&lab, loc, host("203.0.113.100/32"), 10), Vec::<String>::new());
    assert_eq!(list(&lab, RouteTable::Out(PeerId(1)), host("203.0.113.17/32"), 10), ["203.0.113.16/28 1"]);
    assert_eq!(lab.rib.explain_route(&p("203.0.113.200/32")).unwrap().prefix, p("203.0.113.128/25"));
    assert!(lab.rib.explain_route(&p("192.0.2.0/24")).is_none());
}

#[test]
fn explain_route_names_the_losing_step_with_both_values() {
    let lab = filled();
    let explained = lab.rib.explain_route(&p("203.0.113.16/28")).unwrap();
    let [best, lost] = explained.paths.as_slice() else { panic!("two paths") };
    assert_eq!((best.outcome, best.route.peer), (Outcome::Best, PeerId(2)));
    assert_eq!(lost.step, "3 shortest AS_PATH (RFC 4271 §9.1.2.2 a)");
    assert_eq!((lost.this_value.as_str(), lost.best_value.as_str()), ("2", "1"));
    assert!(explained.forwarding.contains("198.51.100.2"), "{}", explained.forwarding);
}

#[test]
fn explain_export_walks_the_rules() {
    let lab = filled();
    let to_source = lab.rib.explain_export(&p("203.0.113.16/28"), PeerId(2)).unwrap();
    assert!(to_source.iter().any(|s| s.rule == "split-horizon" && !s.pass));
    assert!(lab.rib.explain_export(&p("203.0.113.16/28"), PeerId(1)).unwrap().iter().all(|s| s.pass));
    assert!(lab.rib.exported_route(&p("203.0.113.16/28"), PeerId(1)).is_some());
    let nothing = lab.rib.explain_export(&p("192.0.2.0/24"), PeerId(1)).unwrap();
    assert!(!nothing[0].pass && nothing[0].rule == "best-path");
    assert!(lab.rib.explain_export(&p("203.0.113.16/28"), PeerId(99)).is_none());
}

#[test]
fn summary_and_counts() {
    let lab = filled();
    let summary = lab.rib.summary();
    let v4 = summary.families[0];
    assert_eq!((v4.prefixes, v4.paths, v4.fib_installed, v4.fib_pending), (4, 5, 4, 0));
    let counts = lab.rib.neighbor_counts(PeerId(2))[0];
    assert_eq!((counts.received, counts.accepted, counts.sent), (1, 1, 3));
}
