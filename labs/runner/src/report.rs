//! Words for the person in front: results on standard output, progress on standard error (a moving line on a terminal,
//! plain lines elsewhere).

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// One line of result.
pub fn say(line: impl AsRef<str>) {
    // A reader that went away (`labs/run x --once | head -1`) is no reason to leave a lab standing.
    let _ = writeln!(std::io::stdout().lock(), "{}", line.as_ref());
}

/// Progress through a known or unknown number of steps.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins; `steps` 0 means unknown.
    pub fn new(title: &str, steps: u64) -> Progress {
        if !std::io::stderr().is_terminal() {
            note(title);
            return Progress { bar: None };
        }
        let bar = if steps == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(steps) };
        let shape = if steps == 0 { "{spinner} {prefix} {msg}" } else { "{spinner} {prefix} {pos}/{len} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress { bar: Some(bar) }
    }

    /// One step on.
    pub fn step(&self, what: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(what.into());
        }
    }

    /// A line that stays, above the moving one.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Ends and wipes the moving line.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line for the person that is no result.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
