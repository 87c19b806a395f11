//! One test a rule: what it refuses, and what it lets through beside that.

use crate::{ASSOCIATION, Command, Decision, Event, Refusal, Rule, State};
use net_types::Prefix;

fn p(s: &str) -> Prefix {
    s.parse().unwrap()
}

fn sites(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn holding(prefix: &str) -> Command {
    Command::AddHolding { prefix: p(prefix), source: String::new() }
}

fn assign(prefix: &str, owner: &str) -> Command {
    let (site, description, request_id) = Default::default();
    Command::Assign { prefix: p(prefix), owner: owner.into(), site, description, request_id }
}

fn keyed(length: u8, owner: &str, key: &str) -> Command {
    let (within, site, description) = Default::default();
    let (owner, request_id) = (owner.into(), key.into());
    Command::Allocate { length, is_v4: true, within, owner, site, description, request_id }
}

fn allocate(length: u8, within: Option<&str>, owner: &str) -> Command {
    let (site, description, request_id) = Default::default();
    let within = within.map(p);
    let is_v4 = within.is_none_or(|w| w.is_v4());
    Command::Allocate { length, is_v4, within, owner: owner.into(), site, description, request_id }
}

fn release(prefix: &str, owner: &str) -> Command {
    Command::Release { prefix: p(prefix), owner: owner.into() }
}

fn announce(prefix: &str, from: &[&str], owner: &str) -> Command {
    Command::Announce { prefix: p(prefix), sites: sites(from), owner: owner.into() }
}

fn withdraw(prefix: &str, from: &[&str]) -> Command {
    Command::Withdraw { prefix: p(prefix), sites: sites(from) }
}

/// A state and the habit of applying what it decides.
struct Book(State);

impl Book {
    fn new() -> Book {
        let mut book = Book(State::default());
        for h in ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/44"] {
            book.does(&holding(h));
        }
        for name in ["paris", "marseille"] {
            book.does(&Command::AddSite { name: name.into(), description: String::new() });
        }
        book
    }

    fn tries(&mut self, command: &Command) -> Result<Decision, Refusal> {
        let decision = self.0.decide(command)?;
        for event in &decision.events {
            self.0.apply(event).unwrap();
        }
        Ok(decision)
    }

    /// Decides, applies, and says whether anything happened.
    fn does(&mut self, command: &Command) -> bool {
        !self.tries(command).unwrap_or_else(|r| panic!("{command:?}: {r}")).events.is_empty()
    }

    fn gets(&mut self, command: &Command) -> Prefix {
        self.tries(command).unwrap_or_else(|r| panic!("{command:?}: {r}")).subject.unwrap()
    }

    fn refuses(&mut self, command: &Command, rule: Rule) {
        let before = self.0.clone();
        let refusal = self.tries(command).expect_err("refused");
        assert_eq!(refusal.rule, rule, "{refusal}");
        assert_eq!(self.0, before, "a refusal changes nothing");
        let line = refusal.to_string();
        assert!(line.starts_with(&format!("{}: ", rule.id())) && line.contains("; ") && !line.contains('\n'), "{line}");
    }
}

#[test]
fn hold_1_and_2_holdings_do_not_overlap_and_have_a_size() {
    let mut book = Book::new();
    assert!(!book.does(&holding("192.0.2.0/24")), "already true");
    book.refuses(&holding("192.0.2.0/25"), Rule::Hold1);
    book.refuses(&holding("192.0.0.0/16"), Rule::Hold1);
    book.refuses(&holding("0.0.0.0/0"), Rule::Hold2);
    book.refuses(&holding("2000::/3"), Rule::Hold2);
    assert!(book.does(&holding("203.0.113.0/24")));
}

#[test]
fn name_1_and_site_1() {
    let mut book = Book::new();
    book.refuses(&assign("192.0.2.0/28", ""), Rule::Name1);
    book.refuses(&assign("192.0.2.0/28", "a b"), Rule::Name1);
    book.refuses(&Command::AddSite { name: "a/b".into(), description: String::new() }, Rule::Name1);
    book.refuses(&keyed(28, "dept-75", &"k".repeat(129)), Rule::Name1);
    book.refuses(&announce("192.0.2.0/24", &["lyon"], ""), Rule::Site1);
    book.refuses(&withdraw("192.0.2.0/24", &["lyon"]), Rule::Site1);
    assert!(!book.does(&Command::AddSite { name: "paris".into(), description: "again".into() }));
}

#[test]
fn assign_1_2_and_3() {
    let mut book = Book::new();
    book.refuses(&assign("203.0.113.0/24", "dept-75"), Rule::Assign1);
    book.refuses(&assign("198.51.0.0/16", "dept-75"), Rule::Assign1);
    assert!(book.does(&assign("192.0.2.0/26", "dept-75")));
    assert!(!book.does(&assign("192.0.2.0/26", "dept-75")), "already true");
    book.refuses(&assign("192.0.2.0/26", "dept-13"), Rule::Assign2);
    book.refuses(&assign("192.0.2.0/28", "dept-13"), Rule::Assign2);
    book.refuses(&assign("192.0.2.0/25", "dept-13"), Rule::Assign2);
    assert!(book.does(&assign("192.0.2.16/28", "dept-75")), "an owner may nest");
    assert!(book.does(&assign("192.0.2.0/25", "dept-75")), "and book around what it has");
    let mut with_site = assign("192.0.2.0/26", "dept-75");
    if let Command::Assign { site, .. } = &mut with_site {
        *site = "paris".into();
    }
    book.refuses(&with_site, Rule::Assign3);
}

#[test]
fn allocation_is_the_best_fit_and_refused_where_nothing_fits() {
    let mut book = Book::new();
    book.does(&assign("198.51.100.0/26", "dept-13"));
    assert_eq!(book.gets(&allocate(26, None, "dept-75")), p("198.51.100.64/26"), "the tightest, not the lowest");
    assert_eq!(book.gets(&allocate(24, None, "dept-75")), p("192.0.2.0/24"));
    book.refuses(&allocate(24, None, "dept-75"), Rule::Alloc1);
    assert_eq!(book.gets(&allocate(28, Some("192.0.2.0/24"), "dept-75")), p("192.0.2.0/28"), "inside its own");
    assert_eq!(book.gets(&allocate(28, Some("192.0.2.0/24"), "dept-75")), p("192.0.2.16/28"));
    book.refuses(&allocate(28, Some("192.0.2.0/24"), "dept-13"), Rule::Assign2);
    book.refuses(&allocate(24, Some("192.0.2.0/24"), "dept-75"), Rule::Alloc1);
    book.refuses(&allocate(28, Some("203.0.113.0/24"), "dept-75"), Rule::Alloc2);
    book.refuses(&allocate(33, None, "dept-75"), Rule::Alloc3);
    book.refuses(&allocate(20, Some("192.0.2.0/24"), "dept-75"), Rule::Alloc3);
    assert_eq!(book.gets(&allocate(48, Some("2001:db8::/44"), "dept-75")), p("2001:db8::/48"));
    assert_eq!(book.gets(&allocate(64, Some("2001:db8::/48"), "dept-75")), p("2001:db8::/64"));
}

#[test]
fn key_1_and_2_the_same_key_gives_the_same_answer_once() {
    let mut book = Book::new();
    let first = book.gets(&keyed(28, "dept-75", "k1"));
    let revision = book.0.revision();
    assert_eq!(book.gets(&keyed(28, "dept-75", "k1")), first);
    assert_eq!(book.0.revision(), revision, "nothing happened");
    assert_ne!(book.gets(&keyed(28, "dept-75", "k2")), first);
    book.refuses(&keyed(27, "dept-75", "k1"), Rule::Key1);
    book.does(&release(&first.to_string(), ""));
    book.refuses(&keyed(28, "dept-75", "k1"), Rule::Key2);
    assert_eq!(book.gets(&keyed(28, "dept-75", "k3")), first);
    book.refuses(&keyed(28, "dept-75", "k1"), Rule::Key2);
}

#[test]
fn release_1_2_and_3() {
    let mut book = Book::new();
    book.does(&assign("192.0.2.0/24", "dept-75"));
    book.refuses(&release("192.0.2.0/25", ""), Rule::Release1);
    book.refuses(&release("192.0.0.0/16", ""), Rule::Release1);
    book.refuses(&release("192.0.2.0/24", "dept-13"), Rule::Release2);
    book.does(&announce("192.0.2.0/24", &["paris"], "dept-75"));
    book.refuses(&release("192.0.2.0/24", "dept-75"), Rule::Release3);
    assert!(book.does(&withdraw("192.0.2.0/24", &[])));
    assert!(book.does(&release("192.0.2.0/24", "dept-75")));
    assert!(!book.does(&release("192.0.2.0/24", "dept-75")), "already true");
}

#[test]
fn release_of_a_part_is_free_while_another_own_assignment_stands_around_the_announcement() {
    let mut book = Book::new();
    book.does(&assign("2001:db8::/47", "dept-75"));
    book.does(&assign("2001:db8::/48", "dept-75"));
    book.does(&announce("2001:db8::/48", &["paris"], ""));
    assert!(book.does(&release("2001:db8::/48", "")));
    book.refuses(&release("2001:db8::/47", ""), Rule::Release3);
}

#[test]
fn announce_1_and_2_only_our_space_and_nothing_that_everyone_filters() {
    let mut book = Book::new();
    book.refuses(&announce("203.0.113.0/24", &["paris"], ""), Rule::Announce1);
    book.refuses(&announce("192.0.0.0/16", &["paris"], ""), Rule::Announce1);
    book.refuses(&announce("192.0.2.0/25", &["paris"], ""), Rule::Announce2);
    book.refuses(&announce("2001:db8::/49", &["paris"], ""), Rule::Announce2);
    book.refuses(&announce("192.0.2.0/24", &[], ""), Rule::Announce4);
    assert!(book.does(&announce("2001:db8:1::/48", &["paris"], "")));
}

#[test]
fn announce_3_and_5_whose_it_is() {
    let mut book = Book::new();
    book.does(&assign("192.0.2.0/25", "dept-75"));
    book.refuses(&announce("192.0.2.0/24", &["paris"], "dept-13"), Rule::Announce3);
    book.refuses(&announce("192.0.2.0/24", &["paris"], "dept-75"), Rule::Announce3);
    assert!(book.does(&announce("192.0.2.0/24", &["paris"], ASSOCIATION)), "the aggregate over its tenants");
    book.does(&assign("198.51.100.0/24", "dept-13"));
    book.refuses(&announce("198.51.100.0/24", &["paris"], "dept-75"), Rule::Announce3);
    book.refuses(&announce("198.51.100.0/24", &["paris"], ASSOCIATION), Rule::Announce3);
    assert!(book.does(&announce("198.51.100.0/24", &["paris"], "")));
    assert_eq!(book.0.announcements()[&p("198.51.100.0/24")].owner, "dept-13");
    // Announced as the association's, booked for a tenant since: the tenant's word is another announcement.
    book.does(&announce("2001:db8:1::/48", &["paris"], ""));
    book.does(&assign("2001:db8:1::/48", "dept-13"));
    book.refuses(&announce("2001:db8:1::/48", &["marseille"], "dept-13"), Rule::Announce5);
}

#[test]
fn announcing_and_withdrawing_what_is_so_already_changes_nothing() {
    let mut book = Book::new();
    assert!(!book.does(&withdraw("192.0.2.0/24", &["paris"])));
    assert!(book.does(&announce("192.0.2.0/24", &["paris", "paris"], "")));
    assert!(!book.does(&announce("192.0.2.0/24", &["paris"], "")));
    assert!(book.does(&announce("192.0.2.0/24", &["paris", "marseille"], "")), "one site more");
    assert_eq!(book.0.announced_at("marseille").collect::<Vec<_>>(), [p("192.0.2.0/24")]);
    assert!(book.does(&withdraw("192.0.2.0/24", &["paris"])));
    assert_eq!(book.0.announced_at("paris").count(), 0);
    assert!(!book.does(&withdraw("192.0.2.0/24", &["paris"])));
    assert!(book.does(&withdraw("192.0.2.0/24", &[])));
    assert!(book.0.announcements().is_empty());
}

#[test]
fn free_space_of_a_holding_an_assignment_and_a_part() {
    let mut book = Book::new();
    book.does(&assign("192.0.2.0/25", "dept-75"));
    book.does(&assign("192.0.2.0/26", "dept-75"));
    assert_eq!(book.0.free(Some(p("192.0.2.0/24"))), [p("192.0.2.128/25")]);
    assert_eq!(book.0.free(Some(p("192.0.2.0/25"))), [p("192.0.2.64/26")]);
    assert_eq!(book.0.free(Some(p("192.0.2.0/26"))), [p("192.0.2.0/26")], "nothing is booked inside it");
    assert_eq!(book.0.free(Some(p("192.0.2.192/26"))), [p("192.0.2.192/26")]);
    assert_eq!(book.0.free(None), [p("192.0.2.128/25"), p("198.51.100.0/24"), p("2001:db8::/44")]);
    assert_eq!(book.0.free(Some(p("203.0.113.0/24"))), []);
    book.does(&release("192.0.2.0/25", ""));
    assert_eq!(book.0.free(Some(p("192.0.2.0/24"))), [p("192.0.2.64/26"), p("192.0.2.128/25")]);
}

#[test]
fn a_log_that_cannot_have_happened_is_an_error() {
    for event in [
        Event::Released { prefix: p("192.0.2.0/24") },
        Event::Withdrawn { prefix: p("192.0.2.0/24"), sites: vec![] },
        Event::Assigned {
            prefix: p("192.0.2.0/24"),
            owner: "dept-75".into(),
            site: String::new(),
            description: String::new(),
            request: None,
        },
    ] {
        let error = State::default().apply(&event).expect_err("inconsistent");
        assert!(error.to_string().starts_with("event 1 "), "{error}");
    }
}

#[test]
fn the_log_keeps_its_form() {
    let event = Event::Announced { prefix: p("192.0.2.0/24"), owner: "dept-75".into(), sites: sites(&["paris"]) };
    let text = r#"{"event":"announced","prefix":"192.0.2.0/24","owner":"dept-75","sites":["paris"]}"#;
    assert_eq!(serde_json::to_string(&event).unwrap(), text);
    let old = r#"{"event":"assigned","prefix":"192.0.2.0/24","owner":"o","site":"","description":""}"#;
    let Event::Assigned { request: None, .. } = serde_json::from_str(old).unwrap() else { panic!("assigned") };
}
