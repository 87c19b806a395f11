//! `lab-feeder`: plays a routing table to BGP neighbours. See `lab_runner::feed`.

use anyhow::{Context, Result, ensure};
use bgp_wire::{AsPath, PathAttributes};
use clap::Parser;
use lab_runner::feed::mrt;
use lab_runner::feed::session::{self, SessionSpec, Speaker};
use lab_runner::report::{note, say};
use net_types::{Asn, Prefix, RouterId};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// A BGP speaker that sends a table and learns nothing.
#[derive(Parser)]
#[command(name = "lab-feeder")]
struct Args {
    /// Our AS number.
    #[arg(long = "as", value_name = "ASN")]
    asn: Asn,
    /// AS number put in front of every path, if it is not our own (a lie).
    #[arg(long, value_name = "ASN")]
    first_as: Option<Asn>,
    /// Our BGP Identifier.
    #[arg(long = "id", value_name = "A.B.C.D")]
    bgp_identifier: RouterId,
    /// A session: `peer=ADDRESS,local=ADDRESS[,nh4=ADDRESS][,nh6=ADDRESS][,passive][,port=N]`.
    #[arg(long = "session", required = true)]
    sessions: Vec<SessionSpec>,
    /// A prefix of our own; may be given several times.
    #[arg(long = "prefix")]
    prefixes: Vec<Prefix>,
    /// Routes to make up, one in four of them IPv6.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    generate: usize,
    /// Seed of what is made up.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play the routes of an MRT RIB dump (plain, .gz, .bz2) instead of made-up ones.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// As --table, with the file named by this environment variable, if it is set.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "table")]
    table_env: Option<String>,
    /// Say what would be sent, and end.
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            note(&format!("lab-feeder: {e:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> Result<()> {
    let start = Instant::now();
    let file = args.table.or_else(|| args.table_env.and_then(std::env::var_os).map(PathBuf::from));
    let mut table = match file {
        Some(file) => {
            let mut told = Instant::now();
            let (table, skipped) = mrt::read(&file, |n| {
                if told.elapsed().as_secs() >= 2 {
                    told = Instant::now();
                    say(format!("{}: {n} routes read", file.display()));
                }
            })?;
            let skipped = skipped.describe();
            if !skipped.is_empty() {
                say(format!("{}: skipped {skipped}", file.display()));
            }
            table
        }
        None => test_tables::generate(args.generate, args.seed),
    };
    for p in args.prefixes {
        table.add(PathAttributes { as_path: AsPath::default(), ..PathAttributes::default() }, p);
    }
    let (v4, v6) = table.count();
    ensure!(v4 + v6 > 0, "nothing to send: give --generate, --table or --prefix");
    let sets = table.groups.len();
    say(format!(
        "{v4} IPv4 and {v6} IPv6 routes in {sets} attribute sets, ready after {:.1} s",
        start.elapsed().as_secs_f32()
    ));
    if args.dry_run {
        return Ok(());
    }
    let speaker =
        Speaker { asn: args.asn, first_as: args.first_as.unwrap_or(args.asn), bgp_identifier: args.bgp_identifier };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for spec in &args.sessions {
            let table = &table;
            let name = format!("to {}", spec.peer);
            let t =
                std::thread::Builder::new().name(name).spawn_scoped(scope, move || session::run(speaker, spec, table));
            threads.push(t.context("cannot start a thread")?);
        }
        Ok(())
    })
}
