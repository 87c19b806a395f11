//! `bgpd`: flags and exit codes. The daemon itself is in the library beside this file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Artère's BGP speaker: peers, policy by relationship, routes in the kernel.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/artere/bgpd.toml")]
    config: PathBuf,
    /// Check the file and exit: prints OK, or one line with file, line, rule and cure (exit code 2).
    #[arg(long)]
    check: bool,
    /// What SIGTERM does: keep kernel routes and let neighbours keep ours for a restart, or withdraw everything.
    #[arg(long, value_enum, default_value_t = Stop::Keep)]
    stop: Stop,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stop {
    /// Friendly to a restart: nothing is withdrawn (RFC 4724).
    Keep,
    /// Leave for good.
    Withdraw,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.check {
        bgpd::run::check(&arguments.config)
    } else {
        bgpd::run::run(&arguments.config, arguments.stop == Stop::Withdraw)
    }
}
