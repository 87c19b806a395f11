//! Logging to standard error, once per process.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The environment variable that overrides the configured filter, in `tracing`'s syntax (`info,bgpd::rib=debug`).
pub const LOG_ENV: &str = "ARTERE_LOG";

/// Starts logging at `level` (a word such as `info`, or a whole filter). [`LOG_ENV`] wins over it. Colour only on a
/// terminal and never with `NO_COLOR`; no clock when systemd's journal already stamps the line. A filter that does not
/// parse is an error that names it; a second call changes nothing and says so.
pub fn init(level: &str) -> Result<(), LoggingError> {
    let (source, wanted) = match std::env::var(LOG_ENV) {
        Ok(v) if !v.is_empty() => (LOG_ENV, v),
        _ => ("log level", level.to_owned()),
    };
    let filter = EnvFilter::try_new(&wanted).map_err(|e| LoggingError::Filter {
        source_name: source,
        filter: wanted,
        reason: e.to_string(),
    })?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    let done = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
    done.map_err(|_| LoggingError::Twice)
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("{source_name} {filter:?} is no log filter: {reason}; write error, warn, info, debug or trace")]
    Filter {
        /// Where it came from.
        source_name: &'static str,
        /// What it says.
        filter: String,
        /// What the parser says.
        reason: String,
    },
    /// A logger stands already.
    #[error("logging was already started in this process")]
    Twice,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named_and_a_second_start_is_told() {
        let e = init("bgpd=loud").expect_err("bad level").to_string();
        assert!(e.contains("bgpd=loud") && e.contains("debug"), "{e}");
        init("warn").expect("first start");
        assert!(matches!(init("warn"), Err(LoggingError::Twice)));
    }
}
