//! Why a command is refused: a rule with a stable id, the reason with its values, and what to do next.

use std::fmt;

/// A rule of the table in the crate's head. The id is part of the interface: scripts match on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is a row of the crate's table")]
pub enum Rule {
    Name1,
    Hold1,
    Hold2,
    Site1,
    Assign1,
    Assign2,
    Assign3,
    Alloc1,
    Alloc2,
    Alloc3,
    Release1,
    Release2,
    Release3,
    Announce1,
    Announce2,
    Announce3,
    Announce4,
    Announce5,
    Key1,
    Key2,
}

impl Rule {
    /// The stable id.
    pub fn id(self) -> &'static str {
        match self {
            Rule::Name1 => "IPAM-NAME-1",
            Rule::Hold1 => "IPAM-HOLD-1",
            Rule::Hold2 => "IPAM-HOLD-2",
            Rule::Site1 => "IPAM-SITE-1",
            Rule::Assign1 => "IPAM-ASSIGN-1",
            Rule::Assign2 => "IPAM-ASSIGN-2",
            Rule::Assign3 => "IPAM-ASSIGN-3",
            Rule::Alloc1 => "IPAM-ALLOC-1",
            Rule::Alloc2 => "IPAM-ALLOC-2",
            Rule::Alloc3 => "IPAM-ALLOC-3",
            Rule::Release1 => "IPAM-RELEASE-1",
            Rule::Release2 => "IPAM-RELEASE-2",
            Rule::Release3 => "IPAM-RELEASE-3",
            Rule::Announce1 => "IPAM-ANNOUNCE-1",
            Rule::Announce2 => "IPAM-ANNOUNCE-2",
            Rule::Announce3 => "IPAM-ANNOUNCE-3",
            Rule::Announce4 => "IPAM-ANNOUNCE-4",
            Rule::Announce5 => "IPAM-ANNOUNCE-5",
            Rule::Key1 => "IPAM-KEY-1",
            Rule::Key2 => "IPAM-KEY-2",
        }
    }

    /// True if the request makes no sense whatever the state (a usage error rather than a safety check).
    pub fn is_malformed(self) -> bool {
        matches!(self, Rule::Name1 | Rule::Alloc3 | Rule::Announce4)
    }
}

/// A refused command. Prints as one line: `IPAM-HOLD-1: reason; cure`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{rule}: {reason}; {cure}")]
pub struct Refusal {
    /// Which rule.
    pub rule: Rule,
    /// What is wrong, with the values.
    pub reason: String,
    /// What to do next.
    pub cure: String,
}

impl Refusal {
    pub(crate) fn new(rule: Rule, reason: impl Into<String>, cure: impl Into<String>) -> Refusal {
        Refusal { rule, reason: reason.into(), cure: cure.into() }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
