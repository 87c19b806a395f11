//! `ipamd`: the association's addresses, and what is announced from where.
//!
//! The way of a request: socket -> [`service`] (wire to command) -> [`book`] (the one owner: decide, write, apply) ->
//! [`store`] (durable) -> answer; a durable change wakes the [`watch`]ers, whose `bgpd`s announce it. Floor 4: the
//! deciding is `ipam-core`'s.
//!
//! Exit codes: 0 stopped by a signal, 1 the store or a socket cannot be used, 2 usage or a refused configuration.
#![forbid(unsafe_code)]

mod book;
mod config;
mod service;
mod store;
mod watch;

use anyhow::Context;
use api::ipam::ipam_server::IpamServer;
use book::Book;
use clap::Parser;
use config::Config;
use daemonbase::grpc::{Address, Listener};
use daemonbase::signals::{Signal, Signals};
use daemonbase::state::StateDir;
use daemonbase::{ConfigError, exit, logging, notify, privileges};
use service::Service;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use store::Store;
use tokio::task::JoinSet;
use tonic::service::Routes;

/// How long the store may take to close.
const CLOSING: Duration = Duration::from_secs(3);

/// Keeps the association's addresses and tells each site's bgpd what to announce.
#[derive(Parser)]
#[command(version, after_help = "Example: ipamd --config /etc/artere/ipamd.toml --check")]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/artere/ipamd.toml")]
    config: PathBuf,
    /// Check the file and exit: 0 if it is good, 2 with one line if it is not.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(e) => return fail(&e.to_string(), exit::USAGE),
    };
    if arguments.check {
        return ExitCode::from(exit::OK);
    }
    match run(&config) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(e) => {
            let code = if e.is::<ConfigError>() { exit::USAGE } else { exit::FINDING };
            fail(&format!("{e:#}"), code)
        }
    }
}

fn fail(line: &str, code: u8) -> ExitCode {
    eprintln!("ipamd: {line}");
    ExitCode::from(code)
}

fn run(config: &Config) -> anyhow::Result<()> {
    logging::init(&config.log)?;
    // No thread yet: from here on even root can do no more than its files allow.
    privileges::drop_privileges(privileges::NONE)?;
    let dir = StateDir::open(&config.state_dir, "ipamd")?;
    let (mut store, mut state) = Store::open(&dir.path("ipam.redb"))?;
    let missing = config.missing(&state)?;
    if !missing.is_empty() {
        store.append(&missing)?;
        for event in &missing {
            state.apply(event)?;
        }
    }
    tracing::info!(path = %store.path().display(), id = store.id(), revision = state.revision(), "store is open");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(config, store, state))
}

async fn serve(config: &Config, store: Store, state: ipam_core::State) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("cannot take signals")?;
    let (tell_stop, stop) = tokio::sync::watch::channel(false);
    let (book, mut gone) = Book::start(store, state).context("cannot start a thread")?;
    let mut servers = JoinSet::new();
    let socket = Address::Unix(config.run_dir.join("ipamd.sock"));
    let addresses = std::iter::once((&socket, true)).chain(config.listen.iter().map(|a| (a, config.listen_may_change)));
    for (address, may_change) in addresses {
        let listener = Listener::bind(address, 0o600).await?;
        tracing::info!(address = %listener.address(), may_change, "listening");
        let service = Service { book: book.clone(), may_change, stop: stop.clone() };
        servers.spawn(listener.serve(Routes::new(IpamServer::new(service)), stop.clone()));
    }
    drop(book);
    notify::ready("serving");
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => tracing::warn!("SIGHUP changes nothing: sites and holdings are added with noc, the rest needs a restart"),
            },
            Ok(e) = &mut gone => return Err(e.into()),
            Some(ended) = servers.join_next() => ended.context("a server task failed")?.context("a listener failed")?,
        }
    }
    notify::stopping();
    tracing::info!("stopping");
    tell_stop.send_replace(true);
    while servers.join_next().await.is_some() {}
    // The last user of the book is gone: its owner closes the file in order, which spares the next start a repair.
    let _ = tokio::time::timeout(CLOSING, gone).await;
    Ok(())
}
