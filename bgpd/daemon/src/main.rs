//! `bgpd`: flags and exit codes. The daemon itself is in the library beside this file.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use daemonbase::exit;

/// Artère's BGP speaker: peers, policy by relationship, routes in the kernel.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    word: Option<Word>,
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

#[derive(Subcommand)]
enum Word {
    /// Measure this bgpd between simulated neighbours, in a network of its own: time and memory of a full table
    #[command(disable_help_flag = true, after_help = "Example: bgpd bench --routes 1000000 --feeds 1,2")]
    Bench {
        /// For bgpd-bench: see `bgpd bench --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
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
    if let Some(Word::Bench { arguments }) = arguments.word {
        bench(&arguments)
    } else if arguments.check {
        bgpd::run::check(&arguments.config)
    } else {
        bgpd::run::run(&arguments.config, arguments.stop == Stop::Withdraw)
    }
}

/// Becomes `bgpd-bench`, which stands beside this program: the neighbours it plays are no part of a daemon.
fn bench(arguments: &[OsString]) -> ExitCode {
    let tried = std::env::current_exe().map(|bgpd| {
        let bench = bgpd.with_file_name("bgpd-bench");
        let error = Command::new(&bench).arg("--bgpd").arg(&bgpd).args(arguments).exec();
        format!("{}: {error}; build it: cargo build --release -p bgpd-bench", bench.display())
    });
    eprintln!("bgpd bench: {}", tried.unwrap_or_else(|e| e.to_string()));
    ExitCode::from(exit::FINDING)
}
