//! Configuration files: TOML to structs, and the one line that refuses one.
//!
//! A file goes: bytes -> UTF-8 text -> `toml` -> the daemon's serde structs (`deny_unknown_fields`) -> the daemon's own
//! checks. Each step refuses with the same shape, `file:line:column: rule: what; cure`, so a person at 2 am reads one
//! line and edits one line. For checks on meaning a daemon keeps the text ([`read_config`], [`parse_toml`]), takes
//! positions from [`Spanned`] fields and builds the error with [`ConfigError::at`].
//!
//! Invariants: the text never spans lines; the file's content is quoted only where serde names a key or a value, and
//! never for a key whose name speaks of a secret.

use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use toml::Spanned;

/// A file above this is not a configuration; reading it would only hurt.
const MAX_BYTES: u64 = 64 << 20;

/// Why a configuration file is refused: where, which rule, what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Line and column, from 1; absent when the file as a whole is at fault.
    pub position: Option<(usize, usize)>,
    /// The rule's short name: `syntax`, `unknown key`, `prefix`, ...
    pub rule: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl ConfigError {
    /// An error on meaning, at a byte span of `text` (take it from a [`Spanned`] field).
    pub fn at(
        path: &Path,
        text: &str,
        span: Range<usize>,
        rule: impl Into<String>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            path: path.to_owned(),
            position: Some(line_column(text, span.start)),
            rule: rule.into(),
            what: one_line(&what.into()),
            cure: one_line(&cure.into()),
        }
    }

    /// An error at a line known by number.
    pub fn at_line(
        path: &Path,
        line: usize,
        rule: impl Into<String>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) -> ConfigError {
        ConfigError { position: Some((line, 1)), ..ConfigError::file(path, rule, what, cure) }
    }

    /// An error about the whole file.
    pub fn file(path: &Path, rule: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> ConfigError {
        ConfigError {
            path: path.to_owned(),
            position: None,
            rule: rule.into(),
            what: one_line(&what.into()),
            cure: one_line(&cure.into()),
        }
    }

    /// The process exit code that goes with a refused file.
    pub fn exit_code(&self) -> u8 {
        crate::exit::USAGE
    }

    fn from_toml(path: &Path, text: &str, e: &toml::de::Error) -> ConfigError {
        let message = one_line(e.message());
        let (rule, cure) = classify(&message);
        let position = e.span().map(|s| line_column(text, s.start));
        // serde quotes the value it could not read; a secret must not reach a log that way.
        let secret = e.span().is_some_and(|s| line_speaks_of_a_secret(text, s.start));
        let what = if secret { "the value is not of the expected form (not shown)".to_owned() } else { message };
        ConfigError { path: path.to_owned(), position, rule: rule.to_owned(), what, cure: cure.to_owned() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}: {}; {}", self.rule, self.what, self.cure)
    }
}

impl std::error::Error for ConfigError {}

/// Reads and decodes a file. For checks that need positions afterwards use [`read_config`] and [`parse_toml`].
pub fn load_toml<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse_toml(path, &read_config(path)?)
}

/// Reads a file's text, with a clear refusal when it cannot be.
pub fn read_config(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |what: String, cure: &str| ConfigError::file(path, "unreadable file", what, cure);
    let io = |e: std::io::Error| {
        use std::io::ErrorKind as K;
        let cure = match e.kind() {
            K::NotFound => "name an existing file or create it; configs/ holds a commented example of each",
            K::PermissionDenied => "make it readable for the user that runs the daemon (chown, chmod 0640)",
            K::IsADirectory => "name the file inside it",
            _ => "check the path and the disk",
        };
        unreadable(e.to_string(), cure)
    };
    let meta = std::fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        return Err(unreadable("is a directory".into(), "name the file inside it"));
    }
    if meta.len() > MAX_BYTES {
        return Err(unreadable(format!("{} bytes long", meta.len()), "a configuration is at most 64 MiB"));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let before = e.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        ConfigError::at_line(path, line, "syntax", "bytes that are not UTF-8", "save the file as UTF-8 text")
    })
}

/// Decodes a file's text; `path` only names it in errors.
pub fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|e| ConfigError::from_toml(path, text, &e))
}

/// Line and column (in characters), both from 1, of a byte offset.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn classify(message: &str) -> (&'static str, &'static str) {
    let has = |s: &str| message.contains(s);
    if has("unknown field") {
        ("unknown key", "remove it or write one of the expected keys")
    } else if has("unknown variant") {
        ("value", "write one of the expected words")
    } else if has("missing field") {
        ("missing key", "add it to this table")
    } else if has("duplicate") {
        ("duplicate key", "keep one of the two")
    } else if has("invalid type") {
        ("type", "write the value in the expected form")
    } else if has("TOML")
        || has("expected")
        || has("unclosed")
        || has("invalid basic string")
        || has("key with no value")
    {
        ("syntax", "the file must be TOML (https://toml.io)")
    } else {
        ("value", "correct the value")
    }
}

fn line_speaks_of_a_secret(text: &str, offset: usize) -> bool {
    let start = text.get(..offset.min(text.len())).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().to_ascii_lowercase();
    ["password", "secret", "key", "md5", "token"].iter().any(|w| key.contains(w))
}

fn one_line(s: &str) -> String {
    s.split(['\n', '\r']).map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the decoding is under test")]
    struct Config {
        asn: Spanned<u32>,
        #[serde(default)]
        neighbor: Vec<Neighbor>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the decoding is under test")]
    struct Neighbor {
        address: std::net::IpAddr,
        #[serde(default)]
        md5: Option<u32>,
        prefix: Option<net_types::Prefix>,
    }

    fn refusal(text: &str) -> String {
        let e = parse_toml::<Config>(Path::new("bgpd.toml"), text).expect_err("must be refused").to_string();
        assert!(!e.contains('\n'), "one line: {e:?}");
        e
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
        let e = refusal("asn = 64500\n\n[[neighbor]]\naddress = \"192.0.2.1\"\npasive = true\n");
        assert!(e.starts_with("bgpd.toml:5:1: unknown key: "), "{e}");
        assert!(e.contains("pasive") && e.contains("address") && e.contains("; "), "{e}");
    }

    #[test]
    fn a_wrong_type_a_missing_key_and_bad_syntax_say_where() {
        let e = refusal("asn = \"64500\"\n");
        assert!(e.starts_with("bgpd.toml:1:7: type: "), "{e}");
        let e = refusal("[[neighbor]]\nprefix = \"192.0.2.0/24\"\n");
        assert!(e.contains("missing key: missing field"), "{e}");
        let e = refusal("asn = 64500\nneighbor = [\n");
        assert!(e.starts_with("bgpd.toml:") && e.contains(": syntax: "), "{e}");
        let e = refusal("asn = 1\nasn = 2\n");
        assert!(e.contains("bgpd.toml:2:1: duplicate key"), "{e}");
        let e = refusal("asn 1\n");
        assert!(e.contains(": syntax: "), "{e}");
    }

    #[test]
    fn a_bad_prefix_keeps_the_cure_of_its_type() {
        let e = refusal("asn = 64500\n[[neighbor]]\naddress = \"192.0.2.1\"\nprefix = \"192.0.2.1/24\"\n");
        assert!(e.starts_with("bgpd.toml:4:10: value: ") && e.contains("did you mean 192.0.2.0/24"), "{e}");
    }

    #[test]
    fn a_secret_is_never_quoted() {
        let e = refusal("asn = 64500\n[[neighbor]]\naddress = \"192.0.2.1\"\nmd5 = \"correct horse\"\n");
        assert!(e.starts_with("bgpd.toml:4:") && !e.contains("horse"), "{e}");
    }

    #[test]
    fn files_that_cannot_be_read_say_what_to_do() {
        let e = load_toml::<Config>(Path::new("/nonexistent/bgpd.toml")).expect_err("absent");
        assert!(e.to_string().starts_with("/nonexistent/bgpd.toml: unreadable file: No such file"), "{e}");
        assert_eq!(e.exit_code(), 2);
        let e = load_toml::<Config>(Path::new("/")).expect_err("directory").to_string();
        assert!(e.contains("is a directory"), "{e}");
        let dir = std::env::temp_dir().join(format!("daemonbase-config-{}", std::process::id()));
        std::fs::write(&dir, b"asn = 1\n# \xff\n").unwrap();
        let e = load_toml::<Config>(&dir).expect_err("not UTF-8").to_string();
        std::fs::remove_file(&dir).unwrap();
        assert!(e.contains(":2:1: syntax: bytes that are not UTF-8"), "{e}");
    }

    #[test]
    fn a_semantic_check_points_at_its_span() {
        let text = "# é\nasn = 0\n";
        let path = Path::new("bgpd.toml");
        let c: Config = parse_toml(path, text).unwrap();
        let e = ConfigError::at(path, text, c.asn.span(), "asn", "0 is reserved (RFC 7607)", "write our AS number");
        assert_eq!(e.to_string(), "bgpd.toml:2:7: asn: 0 is reserved (RFC 7607); write our AS number");
    }
}
