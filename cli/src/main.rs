//! `noc`: the one command line, for the volunteer on call at 2 am.
//!
//! The way of a command: [`args`] (what was typed) -> [`bgp`] or [`ip`] (one call to a daemon) -> the daemon's message ->
//! [`output`] (a table for people or JSON, from that one message) -> an exit code. Invariants: the answer goes to standard
//! output, an error is one line on standard error; a stream is printed as it comes and never held; nothing is decided
//! here that a daemon should decide. Floor 5.
//!
//! Exit codes: 0 ok, 1 a finding or nothing found, 2 usage, 3 refused by a safety check, 4 daemon unreachable.
#![forbid(unsafe_code)]

mod args;
mod bgp;
mod bgp_tables;
mod failure;
mod ip;
mod ip_tables;
mod output;

use args::{Arguments, Verb};
use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
use clap::{CommandFactory, Parser};
use failure::Failure;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are answers, printed as they are.
        Err(e) if matches!(e.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) => {
            e.exit()
        }
        Err(e) => {
            eprintln!("noc: {}", one_line(&e.to_string()));
            return ExitCode::from(daemonbase::exit::USAGE);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read us has enough (`noc show route | head`).
        Err(Failure::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("noc: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

/// What clap says is wrong, without the usage text behind it.
fn one_line(error: &str) -> String {
    let said = error.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"));
    let said: Vec<&str> = said.filter(|l| !l.is_empty()).collect();
    format!("{}; see `noc --help`", said.join(" ").trim_start_matches("error: "))
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { bgpd, ipam, output, color, verb } = arguments;
    let mut out = Output::new(output, color);
    if let Verb::Completions { shell } = verb {
        // Into memory first: clap_complete panics where standard output is closed.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "noc", &mut script);
        return out.raw(&script);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Output)?;
    runtime.block_on(async {
        match verb {
            Verb::Show { what } => bgp::show(&bgpd, what, &mut out).await,
            Verb::Explain { what } => bgp::explain(&bgpd, what, &mut out).await,
            Verb::Config { what } => bgp::config(&bgpd, what, &mut out).await,
            Verb::Neighbor { what } => bgp::neighbor(&bgpd, what, &mut out).await,
            Verb::Ip { what } => ip::ip(&ipam, what, &mut out).await,
            Verb::Announce(a) => ip::announce(&ipam, a, &mut out).await,
            Verb::Withdraw(w) => ip::withdraw(&ipam, w, &mut out).await,
            Verb::Announcements { site } => ip::announcements(&ipam, site, &mut out).await,
            Verb::Completions { .. } => Ok(()),
        }
    })?;
    out.finish()
}
