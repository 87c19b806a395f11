//! The interface monitor's thread: what the kernel says about links and addresses, to all who need it.
//!
//! The way of a cut fibre: netlink -> [`InterfaceMonitor`] -> the FIB thread (whose groups lose the link's next hops) -> the
//! table that the RIB watches (it decides again, unhurried) -> the supervisor (whose neighbours on that link are ended).

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bgp_core::rib::{Connected, ConnectedTable};
use kernel::links::{Snapshot, went_down_and_up};
use kernel::{InterfaceMonitor, MeddlingMonitor};
use net_types::Prefix;
use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use crate::fib_task::FibInput;
use crate::supervisor::SupervisorInput;

/// How often the thread looks whether the daemon still wants it.
const TURN: Duration = Duration::from_secs(1);

/// Runs until nobody watches.
pub fn run(
    mut last: Snapshot,
    mut monitor: InterfaceMonitor,
    table: &watch::Sender<Arc<ConnectedTable>>,
    fib: Option<&SyncSender<FibInput>>,
    supervisor: &mpsc::Sender<SupervisorInput>,
) {
    while !table.is_closed() {
        let next = match monitor.next(TURN) {
            Ok(Some(next)) => next,
            Ok(None) => continue,
            Err(e) => {
                error!("interfaces cannot be watched: {e}");
                std::thread::sleep(TURN);
                continue;
            }
        };
        let (down, up) = went_down_and_up(&last, &next);
        let names = |list: &[u32], of: &Snapshot| {
            list.iter().filter_map(|i| of.get(i)).map(|l| l.name.clone()).collect::<Vec<_>>().join(" ")
        };
        if !down.is_empty() || !up.is_empty() {
            info!(down = names(&down, &last), up = names(&up, &next), "links changed");
        }
        // The FIB first: it is one message there, and a whole decision at the RIB's.
        if let Some(fib) = fib {
            let _ = fib.send(FibInput::LinksChanged { down: down.clone(), up });
        }
        table.send_replace(Arc::new(connected(&next)));
        if !down.is_empty() {
            let _ = supervisor.blocking_send(SupervisorInput::InterfacesDown(down.into()));
        }
        last = next;
    }
}

/// Between two notices to the FIB thread of what others did: a burst is one.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells the FIB thread when somebody changes objects or routes of ours, until it is gone.
pub fn watch_meddling(mut monitor: MeddlingMonitor, fib: &SyncSender<FibInput>) {
    loop {
        match monitor.next(TURN) {
            Ok(Some(meddled)) => {
                if fib.send(FibInput::Meddled(meddled)).is_err() {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
            Ok(None) => {}
            Err(e) => {
                error!("next-hop objects cannot be watched: {e}");
                std::thread::sleep(TURN);
            }
        }
    }
}

/// A snapshot as the RIB wants it.
pub fn connected(snapshot: &Snapshot) -> ConnectedTable {
    let of_link = |(ifindex, link): (&u32, &kernel::Link)| {
        let (ifindex, ifname, up) = (*ifindex, link.name.clone(), link.up);
        let row = move |(address, len): &(std::net::IpAddr, u8)| {
            let prefix = Prefix::new(*address, *len).ok()?;
            Some(Connected { ifindex, ifname: ifname.clone(), prefix, address: *address, up })
        };
        link.addresses.iter().filter_map(row).collect::<Vec<_>>()
    };
    snapshot.iter().flat_map(of_link).collect()
}
