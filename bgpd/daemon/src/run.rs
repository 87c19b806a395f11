//! The daemon from start to end, in the one order that works: file, lock, sockets, kernel, capabilities, threads, tasks.
//!
//! Stopping (SIGTERM) is friendly to forwarding: kernel routes stay and connections end without a NOTIFICATION, so
//! neighbours that agreed on graceful restart keep our routes and the next start adopts everything (RFC 4724). To leave
//! for good, `--stop=withdraw` makes SIGTERM say Cease to everybody and take the kernel routes away.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use anyhow::Context;
use bgp_core::rib::Rib;
use daemonbase::privileges::{ROUTING, drop_privileges, nice};
use daemonbase::signals::{Signal, Signals};
use daemonbase::state::StateDir;
use daemonbase::{Clock, exit, logging, notify};
use kernel::{FibConfig, FibSync, InterfaceMonitor, LossReason, MeddlingMonitor, NeighborMonitor, Netlink, NextHop};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::directory::Directory;
use crate::fib_task::{self, FIB_QUEUE};
use crate::hops::{self, Hops};
use crate::messages::{RIB_QUEUE, SUPERVISOR_QUEUE};
use crate::net::listener;
use crate::rib_task::{self, FibLink};
use crate::supervisor::{Overview, Publish, Shared, Supervisor, SupervisorInput};
use crate::{bfd, ifmon, ipam_client, restart, rpc};

/// Threads for all sockets. Reading and decoding a table costs a tenth of what the RIB's one thread does with it: more
/// would only steal from each other.
const NET_WORKERS: usize = 4;

/// How far the FIB's thread goes ahead of the others, if we may: packets follow it, and announcements wait for it.
const FIB_NICE: i32 = -5;

/// Runs until stopped. A refused configuration is printed as its one line and gives exit code 2.
pub fn run(file: &Path, withdraw: bool) -> ExitCode {
    match start(file, withdraw) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(e) => {
            // A ConfigError shows as its line and nothing else.
            eprintln!("{e:#}");
            let refused = e.downcast_ref::<crate::config::ConfigError>().is_some();
            ExitCode::from(if refused { exit::USAGE } else { exit::FINDING })
        }
    }
}

/// Says OK or prints the one line.
pub fn check(file: &Path) -> ExitCode {
    use std::io::Write;
    match Config::load(file) {
        Ok(_) => {
            let _ = writeln!(std::io::stdout(), "OK");
            ExitCode::from(exit::OK)
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn start(file: &Path, withdraw: bool) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    logging::init(&config.daemon.log)?;
    let state_dir = Arc::new(StateDir::open(&config.daemon.state_dir, "bgpd")?);
    let bound = listener::bind_all(&config.listen, &config.places, &[])?;
    // Of the thread that all others come from, as the right to do it goes with the other privileges.
    let bfd_ahead = bfd::thread::ahead();
    let ahead = nice(FIB_NICE);
    drop_privileges(ROUTING)?;
    let clock = Clock::start();
    let (fib_inputs, fib_receiver) = std_mpsc::sync_channel(FIB_QUEUE);
    let fib_inputs = config.fib.enabled.then_some(fib_inputs);
    let hops = Hops::new(fib_inputs.clone());
    let bfd = start_bfd(clock, bfd_ahead, hops.clone())?;
    bfd_ahead.back();
    let (interfaces, monitor) = InterfaceMonitor::open()?;
    let mut fib = open_fib(&config)?;
    let meddling = fib.as_mut().map(|fib| MeddlingMonitor::open(&kernel_config(&config), fib.kernel_mut().port()));
    let keep = config.neighbors.values().map(|n| n.gr_restart_time).max().unwrap_or(0);
    let restarting = match &fib {
        Some(fib) => !fib.is_empty(),
        // Nobody was asked to keep our routes: nothing to come back to.
        None => keep > 0 && restart::ran_lately(&state_dir, Duration::from_secs(keep.into())),
    };
    // After a power cut, or at the very first start, nothing was preserved. Without a kernel table there was nothing to
    // lose: who forwards does not depend on us.
    let forwarding_lost = fib.is_some() && !restarting;
    info!(
        version = env!("CARGO_PKG_VERSION"), local_as = %config.speaker.local_as, router_id = %config.speaker.router_id,
        neighbors = config.neighbors.len(), restarting, "bgpd starts"
    );

    let (rib_tx, rib_rx) = mpsc::channel(RIB_QUEUE);
    let (supervisor_tx, supervisor_rx) = mpsc::channel(SUPERVISOR_QUEUE);
    let (interfaces_tx, interfaces_rx) = watch::channel(Arc::new(ifmon::connected(&interfaces)));
    let (directory_tx, directory_rx) = watch::channel(Arc::new(Directory::default()));
    let (ipam_tx, ipam_rx) = watch::channel(ipam_client::State::default());
    let (overview_tx, overview_rx) = watch::channel(Overview::default());
    let (restarting_tx, restarting_rx) = watch::channel(restarting);

    let in_flight = fib.map(|fib| {
        let in_flight = Arc::new(AtomicUsize::new(0));
        let (counter, rib) = (in_flight.clone(), rib_tx.clone());
        let hold_up = config.fib.hold_up;
        thread("fib", move || fib_task::run(fib, &fib_receiver, &counter, &rib, hold_up));
        in_flight
    });
    let link = fib_inputs.clone().zip(in_flight).map(|(inputs, in_flight)| FibLink { inputs, in_flight });
    if ahead {
        nice(-FIB_NICE);
    }
    let rib = rib_task::Setup {
        rib: Rib::new(config.speaker.clone(), clock.now(), restarting),
        clock,
        inputs: rib_rx,
        interfaces: interfaces_rx.clone(),
        fib: link,
        restarting: restarting_tx,
    };
    thread("rib", move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime.block_on(rib_task::run(rib)),
        Err(e) => error!("the RIB has no runtime: {e}"),
    });
    if let (Some(fib), Some(monitor)) = (fib_inputs.clone(), meddling) {
        match monitor {
            Ok(monitor) => thread("meddling", move || ifmon::watch_meddling(monitor, &fib)),
            Err(e) => warn!("{e}; what others do to our routes is found by the next full pass"),
        }
    }
    let (fib_too, supervisor_too) = (fib_inputs.clone(), supervisor_tx.clone());
    thread("interfaces", move || {
        ifmon::run(interfaces, monitor, &interfaces_tx, fib_too.as_ref(), &supervisor_too);
    });

    if fib_inputs.is_some() {
        let monitor = NeighborMonitor::open()?;
        thread("neighbors", move || hops::watch_neighbors(&hops, monitor));
    }

    let shared = Shared {
        clock,
        rib: rib_tx,
        supervisor: supervisor_tx,
        directory: directory_rx,
        interfaces: interfaces_rx,
        ipam: ipam_rx,
        overview: overview_rx,
        restarting: restarting_rx,
        forwarding_lost,
        bfd,
        fib: fib_inputs,
    };
    let publish = Publish { directory: directory_tx, ipam: ipam_tx, overview: overview_tx };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(NET_WORKERS);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().thread_name("net").build()?;
    let run_dir = config.daemon.run_dir.clone();
    let file = file.to_path_buf();
    runtime.block_on(async move {
        let mut signals = Signals::new()?;
        let sockets = rpc::Sockets::bind(&run_dir).await?;
        let (stop, stopped) = watch::channel(false);
        let supervisor =
            Supervisor::start(file, config, shared.clone(), publish, bound, state_dir.clone(), supervisor_rx).await?;
        sockets.serve(&shared, &stopped);
        let supervisor = tokio::spawn(supervisor.run());
        notify::ready("running");
        serve(&mut signals, &shared, &state_dir).await;
        notify::stopping();
        leave(&shared, withdraw).await;
        shared.bfd.leave();
        restart::note(&state_dir);
        stop.send_replace(true);
        supervisor.abort();
        info!(withdraw, "bgpd stops");
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(())
}

/// The thread that speaks BFD.
fn start_bfd(clock: Clock, ahead: bfd::thread::Ahead, hops: Hops) -> anyhow::Result<bfd::Handle> {
    let (handle, requests, wake) = bfd::Handle::new().context("no way to the BFD thread")?;
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let seed = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default();
    // Called in the BFD thread, before anything else is done about a failure.
    let path = Box::new(move |gateway: IpAddr, ifindex: u32, up: bool| {
        let hop = vec![NextHop { gateway: Some(gateway), ifindex, through: None }];
        if up { hops.returned(hop, LossReason::BfdDown) } else { hops.lost(hop, LossReason::BfdDown) }
    });
    let setup = bfd::thread::Setup::new(clock, seed, path, ahead, requests, wake);
    thread("bfd", move || bfd::thread::run(setup));
    Ok(handle)
}

fn open_fib(config: &Config) -> anyhow::Result<Option<FibSync<Netlink>>> {
    if !config.fib.enabled {
        return Ok(None);
    }
    let fib = kernel_config(config);
    let why = "the kernel's table cannot be used; run as root or with CAP_NET_ADMIN, or set [fib] enabled = false";
    let kernel = Netlink::open(fib).context(why)?;
    Ok(Some(FibSync::begin(kernel, fib).context(why)?))
}

fn kernel_config(config: &Config) -> FibConfig {
    let (rtproto, table, metric) = (config.fib.rtproto, config.fib.table, config.fib.metric);
    FibConfig { rtproto, table, metric, ..FibConfig::default() }
}

fn thread(name: &'static str, body: impl FnOnce() + Send + 'static) {
    let guarded = move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        if ended.is_err() {
            // Half a daemon would announce what it no longer forwards; a new one adopts what stands.
            error!("thread {name} broke, which is a defect: bgpd ends so that it can be started anew");
            std::process::exit(exit::FINDING.into());
        }
    };
    if let Err(e) = std::thread::Builder::new().name(name.into()).spawn(guarded) {
        error!("no thread for {name}: {e}");
        std::process::exit(exit::FINDING.into());
    }
}

/// Signals and the note of our life, until told to stop.
async fn serve(signals: &mut Signals, shared: &Shared, state_dir: &Arc<StateDir>) {
    // The first note comes at once, but sessions do not wait for the disk.
    let mut renew = tokio::time::interval(restart::RENEW);
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => return,
                Signal::Reload => {
                    let (answer, _) = oneshot::channel();
                    let _ = shared.supervisor.send(SupervisorInput::Reload(answer)).await;
                }
            },
            _ = renew.tick() => {
                let dir = state_dir.clone();
                tokio::task::spawn_blocking(move || restart::note(&dir));
            }
        }
    }
}

/// Says Cease to all and takes the routes away, if that is what stopping means; else leaves all as it stands.
async fn leave(shared: &Shared, withdraw: bool) {
    if !withdraw {
        return;
    }
    let (answer, done) = oneshot::channel();
    if shared.supervisor.send(SupervisorInput::Shutdown(answer)).await.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(5), done).await;
    }
}
