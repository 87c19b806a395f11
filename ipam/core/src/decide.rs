//! Commands become events, or are refused. Each refusal names its rule (the crate's table), the values and the cure.

use crate::ASSOCIATION;
use crate::command::{Command, Decision, Event, RequestKey};
use crate::refusal::{Refusal, Rule};
use crate::state::{State, subtree};
use net_types::Prefix;

type Decided = Result<Decision, Refusal>;

/// The particulars of an assignment, given or to be chosen.
struct Wish<'a> {
    owner: &'a str,
    site: &'a str,
    description: &'a str,
    request: Option<RequestKey>,
}

impl State {
    /// What has to happen to make `command` true: nothing, if it is; or why it may not be.
    pub fn decide(&self, command: &Command) -> Decided {
        match command {
            Command::AddHolding { prefix, source } => self.add_holding(*prefix, source),
            Command::AddSite { name, description } => self.add_site(name, description),
            Command::Assign { prefix, owner, site, description, request_id } => {
                let asked = format!("assign {prefix} owner={owner} site={site} {description}");
                let wish = self.wish(owner, site, description, request_id, asked)?;
                match self.answered(&wish)? {
                    Some(again) => Ok(again),
                    None => self.assign(*prefix, wish),
                }
            }
            Command::Allocate { length, is_v4, within, owner, site, description, request_id } => {
                let family = if *is_v4 { "ipv4" } else { "ipv6" };
                let place = within.map_or_else(|| "any".to_owned(), |p| p.to_string());
                let asked = format!("allocate /{length} {family} of {place} owner={owner} site={site} {description}");
                let wish = self.wish(owner, site, description, request_id, asked)?;
                match self.answered(&wish)? {
                    Some(again) => Ok(again),
                    None => self.assign(self.choose(*length, *is_v4, *within, owner)?, wish),
                }
            }
            Command::Release { prefix, owner } => self.release(*prefix, owner),
            Command::Announce { prefix, sites, owner } => self.announce(*prefix, sites, owner),
            Command::Withdraw { prefix, sites } => self.withdraw(*prefix, sites),
        }
    }

    fn add_holding(&self, prefix: Prefix, source: &str) -> Decided {
        if self.holdings.contains_key(&prefix) {
            return nothing(Some(prefix));
        }
        let shortest = if prefix.is_v4() { 8 } else { 16 };
        if prefix.len() < shortest {
            let reason = format!("{prefix} is more than a registry gives to anyone (at most a /{shortest})");
            return Err(Refusal::new(Rule::Hold2, reason, "check the length"));
        }
        let above = self.holding_around(prefix).map(|(p, _)| p);
        let overlap = above.or_else(|| subtree(&self.holdings, prefix).next().map(|(p, _)| *p));
        if let Some(other) = overlap {
            let reason = format!("{prefix} overlaps the holding {other}");
            return Err(Refusal::new(Rule::Hold1, reason, "a holding is added as the registry gave it, once"));
        }
        one(Some(prefix), Event::HoldingAdded { prefix, source: source.to_owned() })
    }

    fn add_site(&self, name: &str, description: &str) -> Decided {
        check_name("site", name)?;
        if self.sites.contains_key(name) {
            return nothing(None);
        }
        one(None, Event::SiteAdded { name: name.to_owned(), description: description.to_owned() })
    }

    fn wish<'a>(
        &self,
        owner: &'a str,
        site: &'a str,
        description: &'a str,
        id: &str,
        asked: String,
    ) -> Result<Wish<'a>, Refusal> {
        check_name("owner", owner)?;
        if !site.is_empty() {
            self.check_site(site)?;
        }
        if id.len() > 128 {
            return Err(Refusal::new(Rule::Name1, "the request key is longer than 128 bytes", "use a UUID"));
        }
        let request = (!id.is_empty()).then(|| RequestKey { id: id.to_owned(), asked });
        Ok(Wish { owner, site, description, request })
    }

    /// The same key gives the same answer, once.
    fn answered(&self, wish: &Wish<'_>) -> Result<Option<Decision>, Refusal> {
        let Some(key) = &wish.request else { return Ok(None) };
        let Some(answer) = self.answered.get(&key.id) else { return Ok(None) };
        if answer.asked != key.asked {
            let reason = format!("the request key {:?} was used for: {}", key.id, answer.asked);
            return Err(Refusal::new(Rule::Key1, reason, "use a new key for a new request"));
        }
        if self.assignments.get(&answer.prefix).is_none_or(|a| a.revision != answer.revision) {
            let reason = format!("the request key {:?} was answered with {}, released since", key.id, answer.prefix);
            return Err(Refusal::new(Rule::Key2, reason, "use a new key for a new request"));
        }
        nothing(Some(answer.prefix)).map(Some)
    }

    fn assign(&self, prefix: Prefix, wish: Wish<'_>) -> Decided {
        if let Some(there) = self.assignments.get(&prefix)
            && there.owner == wish.owner
        {
            if there.site == wish.site && there.description == wish.description {
                return nothing(Some(prefix));
            }
            let reason = format!(
                "{prefix} is booked for {} already, with site {:?} and description {:?}",
                there.owner, there.site, there.description
            );
            return Err(Refusal::new(Rule::Assign3, reason, "release it first, or repeat it as it stands"));
        }
        if self.holding_around(prefix).is_none() {
            let reason = format!("{prefix} is not inside what we hold ({})", self.holdings_text());
            return Err(Refusal::new(Rule::Assign1, reason, "see `noc ip free`"));
        }
        self.check_overlap(Rule::Assign2, prefix, wish.owner)?;
        let event = Event::Assigned {
            prefix,
            owner: wish.owner.to_owned(),
            site: wish.site.to_owned(),
            description: wish.description.to_owned(),
            request: wish.request,
        };
        one(Some(prefix), event)
    }

    /// The free prefix that an allocation gets.
    fn choose(&self, length: u8, is_v4: bool, within: Option<Prefix>, owner: &str) -> Result<Prefix, Refusal> {
        let longest = if is_v4 { 32 } else { 128 };
        if length == 0 || length > longest || within.is_some_and(|p| p.is_v4() != is_v4 || p.len() > length) {
            let place = within.map_or_else(String::new, |p| format!(" from {p}"));
            let family = if is_v4 { "IPv4" } else { "IPv6" };
            let reason = format!("there is no {family} prefix of length {length}{place}");
            return Err(Refusal::new(Rule::Alloc3, reason, "ask for a length of that family and place"));
        }
        let found = match within {
            None => {
                let ours = self.holdings.iter().filter(|(p, _)| p.is_v4() == is_v4);
                let fits = ours.filter_map(|(p, h)| h.free.best_fit(*p, length));
                // The longest block is the tightest; on a tie the lowest address.
                fits.max_by(|(a, p), (b, q)| a.cmp(b).then(q.cmp(p))).map(|(_, p)| p)
            }
            Some(place) => self.choose_within(place, length, owner)?,
        };
        found.ok_or_else(|| {
            let place = within.map_or_else(|| "any holding".to_owned(), |p| p.to_string());
            let reason = format!("no /{length} is free in {place}");
            Refusal::new(Rule::Alloc1, reason, "see `noc ip free`, then ask for less or release something")
        })
    }

    fn choose_within(&self, place: Prefix, length: u8, owner: &str) -> Result<Option<Prefix>, Refusal> {
        if let Some((container, assignment)) = self.assignment_around(place) {
            if assignment.owner != owner {
                return Err(taken(Rule::Assign2, place, container, &assignment.owner));
            }
            let fit = match &assignment.free {
                Some(free) => free.best_fit(place, length),
                None => crate::FreeSpace::whole(container).best_fit(place, length),
            };
            // The assignment's own prefix is booked already.
            return Ok(fit.map(|(_, p)| p).filter(|p| *p != container));
        }
        match self.holding_around(place) {
            Some((_, holding)) => Ok(holding.free.best_fit(place, length).map(|(_, p)| p)),
            None => {
                let reason = format!("{place} is not inside what we hold ({})", self.holdings_text());
                Err(Refusal::new(Rule::Alloc2, reason, "name a holding or an assignment of yours"))
            }
        }
    }

    fn release(&self, prefix: Prefix, owner: &str) -> Decided {
        let Some(assignment) = self.assignments.get(&prefix) else {
            let near = self.assignment_around(prefix).map(|(p, _)| p);
            let near = near.or_else(|| subtree(&self.assignments, prefix).next().map(|(p, _)| *p));
            // Nothing booked at or around it: free, as asked.
            let Some(near) = near else { return nothing(Some(prefix)) };
            let reason = format!("{prefix} is not booked, but {near} is");
            return Err(Refusal::new(Rule::Release1, reason, format!("release {near} if that is meant")));
        };
        if !owner.is_empty() && owner != assignment.owner {
            let reason = format!("{prefix} is booked for {}, not for {owner}", assignment.owner);
            return Err(Refusal::new(Rule::Release2, reason, "see `noc ip show`"));
        }
        // What is announced for this owner needs an assignment around it; another of the owner's may do.
        let kept = self.assignment_above(prefix).is_some();
        let announced = subtree(&self.announcements, prefix).find(|(p, a)| {
            let inner = subtree(&self.assignments, prefix).any(|(q, _)| *q != prefix && q.covers(p));
            a.owner == assignment.owner && !kept && !inner
        });
        if let Some((announced, by)) = announced {
            let sites = join(by.sites.iter());
            let reason = format!("{announced} is still announced from {sites}");
            return Err(Refusal::new(Rule::Release3, reason, format!("`noc withdraw {announced}` first")));
        }
        one(Some(prefix), Event::Released { prefix })
    }

    fn announce(&self, prefix: Prefix, sites: &[String], owner: &str) -> Decided {
        if sites.is_empty() {
            return Err(Refusal::new(Rule::Announce4, format!("no site to announce {prefix} from"), "name one"));
        }
        for site in sites {
            self.check_site(site)?;
        }
        if self.holding_around(prefix).is_none() {
            let reason = format!("{prefix} is not inside what we hold ({})", self.holdings_text());
            return Err(Refusal::new(
                Rule::Announce1,
                reason,
                "announcing others' space is a hijack: check the prefix",
            ));
        }
        // RFC 7454 §6.1.3: prefixes longer than these are not accepted on the Internet.
        let longest = if prefix.is_v4() { 24 } else { 48 };
        if prefix.len() > longest {
            let cure = format!("announce the /{longest} around it");
            let reason = format!("{prefix} is longer than /{longest} and would be filtered by everyone");
            return Err(Refusal::new(Rule::Announce2, reason, cure));
        }
        let owner = self.announcing_owner(prefix, owner)?;
        let there = self.announcements.get(&prefix);
        if let Some(there) = there.filter(|a| a.owner != owner) {
            let reason = format!("{prefix} is announced for {}, not for {owner}", there.owner);
            return Err(Refusal::new(Rule::Announce5, reason, format!("`noc withdraw {prefix}` first")));
        }
        let mut new: Vec<String> =
            sites.iter().filter(|s| there.is_none_or(|a| !a.sites.contains(*s))).cloned().collect();
        new.sort();
        new.dedup();
        if new.is_empty() {
            return nothing(Some(prefix));
        }
        one(Some(prefix), Event::Announced { prefix, owner, sites: new })
    }

    /// Whose announcement this is: the owner of the assignment around it, else the association; or why it may not be
    /// the one that was said.
    fn announcing_owner(&self, prefix: Prefix, said: &str) -> Result<String, Refusal> {
        if !said.is_empty() {
            check_name("owner", said)?;
        }
        match self.assignment_around(prefix) {
            Some((_, a)) if said.is_empty() || said == a.owner => Ok(a.owner.clone()),
            Some((around, a)) => Err(taken(Rule::Announce3, prefix, around, &a.owner)),
            None if said.is_empty() || said == ASSOCIATION => Ok(ASSOCIATION.to_owned()),
            None => {
                self.check_overlap(Rule::Announce3, prefix, said)?;
                let reason = format!("{prefix} is not booked for {said}: it is {ASSOCIATION}'s");
                Err(Refusal::new(Rule::Announce3, reason, format!("`noc ip add {prefix} --owner {said}` first")))
            }
        }
    }

    fn withdraw(&self, prefix: Prefix, sites: &[String]) -> Decided {
        for site in sites {
            self.check_site(site)?;
        }
        let Some(there) = self.announcements.get(&prefix) else { return nothing(Some(prefix)) };
        let gone = there.sites.iter().filter(|s| sites.is_empty() || sites.contains(s));
        let gone: Vec<String> = gone.cloned().collect();
        if gone.is_empty() {
            return nothing(Some(prefix));
        }
        one(Some(prefix), Event::Withdrawn { prefix, sites: gone })
    }

    /// Refuses a site that is not there.
    pub fn check_site(&self, name: &str) -> Result<(), Refusal> {
        if self.sites.contains_key(name) {
            return Ok(());
        }
        let known = join(self.sites.keys());
        let reason = format!("there is no site {name:?} (there are: {known})");
        Err(Refusal::new(Rule::Site1, reason, "check the name, or `noc ip site add` it"))
    }

    fn check_overlap(&self, rule: Rule, prefix: Prefix, owner: &str) -> Result<(), Refusal> {
        match self.foreign_overlap(prefix, owner) {
            None => Ok(()),
            Some((other, a)) => Err(taken(rule, prefix, other, &a.owner)),
        }
    }

    fn holdings_text(&self) -> String {
        let shown = join(self.holdings.keys().take(8).map(ToString::to_string));
        match self.holdings.len() {
            0 => "nothing yet".to_owned(),
            n if n > 8 => format!("{shown} and {} more", n - 8),
            _ => shown,
        }
    }
}

fn nothing(subject: Option<Prefix>) -> Decided {
    Ok(Decision { events: vec![], subject })
}

fn one(subject: Option<Prefix>, event: Event) -> Decided {
    Ok(Decision { events: vec![event], subject })
}

fn taken(rule: Rule, prefix: Prefix, other: Prefix, owner: &str) -> Refusal {
    let reason = if prefix == other {
        format!("{prefix} is booked for {owner}")
    } else {
        format!("{prefix} overlaps {other}, which is booked for {owner}")
    };
    Refusal::new(rule, reason, "see `noc ip show`, then take another prefix or agree with the owner")
}

fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    let reason = format!("{name:?} is no name for the {what}");
    Err(Refusal::new(Rule::Name1, reason, "use 1 to 64 letters, digits, '-', '_' and '.'"))
}

fn join(words: impl Iterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<String> = words.map(|w| w.as_ref().to_owned()).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
