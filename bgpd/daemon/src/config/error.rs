//! One error, one line: `FILE:LINE: RULE: what; cure`.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::rules::Rule;

/// Why a configuration is refused. Shows as exactly one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    /// The file as it was named to us.
    pub file: PathBuf,
    /// Line in it, from 1; 0 when the file could not be read at all.
    pub line: usize,
    /// The rule that refused, a key of [`super::rules::RULES`].
    pub rule: Rule,
    /// What is wrong.
    pub what: String,
    /// What to do next.
    pub cure: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_line = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(
            f,
            "{}:{}: {}: {}; {}",
            self.file.display(),
            self.line,
            self.rule.id(),
            one_line(&self.what),
            one_line(&self.cure)
        )
    }
}

/// The text under check, to turn an octet offset into a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Line (from 1) of an octet offset.
    pub(super) fn line(&self, offset: usize) -> usize {
        let upto = self.text.as_bytes().get(..offset.min(self.text.len())).unwrap_or_default();
        upto.iter().filter(|b| **b == b'\n').count() + 1
    }

    pub(super) fn error(
        &self,
        span: &Range<usize>,
        rule: Rule,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            file: self.file.to_path_buf(),
            line: self.line(span.start),
            rule,
            what: what.into(),
            cure: cure.into(),
        }
    }

    /// The TOML reader's own refusal, as one of our rules.
    pub(super) fn toml_error(&self, e: &toml::de::Error) -> ConfigError {
        let span = e.span().unwrap_or(0..0);
        let message = e.message();
        let quoted = |from: &str| from.split('`').nth(1).unwrap_or_default().to_owned();
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let (key, known) = (quoted(rest), rest.split_once("expected ").map_or("", |x| x.1));
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            let cure = match nearest(&key, &known) {
                Some(k) => format!("did you mean `{k}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.error(&span, Rule::UnknownKey, format!("unknown key `{key}`"), cure)
        } else if let Some(rest) = message.strip_prefix("missing field ") {
            let key = quoted(rest);
            self.error(&span, Rule::MissingKey, format!("`{key}` is missing"), format!("add `{key} = …` here"))
        } else if message.starts_with("invalid ") {
            self.error(&span, Rule::BadValue, message, "write a value of that kind")
        } else {
            self.error(&span, Rule::Syntax, message, "mend the TOML at this line (https://toml.io)")
        }
    }
}

/// The known word within two edits of `word`, if any.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().map(|k| (edits(word, k), *k)).filter(|(d, _)| *d <= 2).min().map(|(_, k)| k)
}

/// Levenshtein distance, one row at a time.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        let mut next = vec![left];
        for (cb, above) in b.chars().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(ca != cb);
            left = cost.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
