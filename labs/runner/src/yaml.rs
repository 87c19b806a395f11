//! YAML with line numbers: the few shapes a topology is made of, each refusal naming file, line and cure.
//!
//! The way of a byte: text -> saphyr's annotated tree -> [`Doc`] accessors -> plain Rust values in [`crate::topology`].
//! Invariant: nothing is skipped. A key that nobody asked for is an error ([`Map::finish`]), as is a value of the wrong
//! shape; a key written twice is refused by the loader.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::fmt;
use std::path::{Path, PathBuf};

/// A refusal: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The file as the person named it.
    pub file: PathBuf,
    /// Line from 1.
    pub line: usize,
    /// What is wrong and the cure.
    pub what: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

impl std::error::Error for Refusal {}

/// One value of the tree with the file it came from.
#[derive(Clone, Copy)]
pub struct Doc<'a> {
    file: &'a Path,
    node: &'a MarkedYaml<'a>,
    /// Line of the key that led here, for values that have no place of their own (an empty value).
    line: usize,
}

/// Parses `text` and hands its only document to `read`.
pub fn with_document<T>(
    file: &Path,
    text: &str,
    read: impl FnOnce(Doc<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let docs = MarkedYaml::load_from_str(text).map_err(|e| Refusal {
        file: file.to_owned(),
        line: e.marker().line(),
        what: format!("not YAML: {}", e.info()),
    })?;
    let [doc] = docs.as_slice() else {
        let what = format!("holds {} YAML documents: write exactly one", docs.len());
        return Err(Refusal { file: file.to_owned(), line: 1, what });
    };
    read(Doc { file, node: doc, line: 1 })
}

impl<'a> Doc<'a> {
    /// The line this value begins on.
    pub fn line(&self) -> usize {
        self.node.span.start.line().max(self.line)
    }

    /// A refusal at this value.
    pub fn refuse(&self, what: impl Into<String>) -> Refusal {
        Refusal { file: self.file.to_owned(), line: self.line(), what: what.into() }
    }

    /// True for an empty value or `~`.
    pub fn is_null(&self) -> bool {
        matches!(&self.node.data, YamlData::Value(Scalar::Null))
    }

    /// The value as a mapping, its keys yet to be asked for.
    pub fn map(&self, what: &str) -> Result<Map<'a>, Refusal> {
        let YamlData::Mapping(m) = &self.node.data else {
            return Err(self.refuse(format!("{what} must be a mapping (key: value)")));
        };
        let mut entries = Vec::new();
        for (k, v) in m {
            let key_doc = Doc { file: self.file, node: k, line: self.line };
            let key = key_doc.text("a key")?;
            entries.push((key, key_doc.line(), Doc { file: self.file, node: v, line: key_doc.line() }));
        }
        Ok(Map { at: *self, what: what.to_owned(), entries })
    }

    /// The value as a sequence.
    pub fn list(&self, what: &str) -> Result<Vec<Doc<'a>>, Refusal> {
        let YamlData::Sequence(s) = &self.node.data else {
            return Err(self.refuse(format!("{what} must be a list (- item)")));
        };
        Ok(s.iter().map(|node| Doc { file: self.file, node, line: self.line }).collect())
    }

    /// A scalar as text; numbers and booleans as they are written in YAML.
    pub fn text(&self, what: &str) -> Result<String, Refusal> {
        match &self.node.data {
            YamlData::Value(Scalar::String(s)) => Ok(s.to_string()),
            YamlData::Value(Scalar::Integer(i)) => Ok(i.to_string()),
            YamlData::Value(Scalar::Boolean(b)) => Ok(b.to_string()),
            YamlData::Value(Scalar::FloatingPoint(f)) => Ok(f.to_string()),
            _ => Err(self.refuse(format!("{what} must be a text"))),
        }
    }

    /// A whole number from 0.
    pub fn number(&self, what: &str) -> Result<u64, Refusal> {
        match &self.node.data {
            YamlData::Value(Scalar::Integer(i)) if *i >= 0 => Ok(i.unsigned_abs()),
            _ => Err(self.refuse(format!("{what} must be a whole number from 0"))),
        }
    }

    /// A list of texts.
    pub fn texts(&self, what: &str) -> Result<Vec<String>, Refusal> {
        self.list(what)?.iter().map(|d| d.text(what)).collect()
    }

    /// A mapping of texts, in file order.
    pub fn pairs(&self, what: &str) -> Result<Vec<(String, String)>, Refusal> {
        self.map(what)?.entries.into_iter().map(|(k, _, v)| Ok((k.clone(), v.text(&k)?))).collect()
    }
}

/// A mapping being read: keys are taken one by one, what is left over is refused.
pub struct Map<'a> {
    at: Doc<'a>,
    what: String,
    entries: Vec<(String, usize, Doc<'a>)>,
}

impl<'a> Map<'a> {
    /// Takes the value of `key`, if it is there.
    pub fn take(&mut self, key: &str) -> Option<Doc<'a>> {
        let i = self.entries.iter().position(|(k, ..)| k == key)?;
        Some(self.entries.remove(i).2)
    }

    /// Takes the value of a key that must be there.
    pub fn need(&mut self, key: &str) -> Result<Doc<'a>, Refusal> {
        let missing = self.at.refuse(format!("{} has no `{key}`: add it", self.what));
        self.take(key).ok_or(missing)
    }

    /// Every remaining entry, for mappings whose keys are names.
    pub fn rest(self) -> Vec<(String, Doc<'a>)> {
        self.entries.into_iter().map(|(k, _, v)| (k, v)).collect()
    }

    /// Refuses the first key that nobody took. `implemented` names those there are.
    pub fn finish(self, implemented: &[&str]) -> Result<(), Refusal> {
        match self.entries.first() {
            None => Ok(()),
            Some((key, line, _)) => Err(Refusal {
                file: self.at.file.to_owned(),
                line: *line,
                what: format!(
                    "key `{key}` of {} is not implemented by this runner; remove it, or use one of: {}",
                    self.what,
                    implemented.join(", ")
                ),
            }),
        }
    }
}
