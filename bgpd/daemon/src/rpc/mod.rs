//! gRPC: what bgpd shows (`Bgpd`) and takes (`BgpdControl`).
//!
//! Two Unix sockets in the run directory: `bgpd-read.sock` (0660: the group may look) serves `Bgpd`; `bgpd.sock` (0600)
//! serves both. Questions about routes go to the RIB's thread as [`query`] objects that do a slice at a time; streams are
//! bounded, so a reader that stops costs a few pages.

mod control;
mod convert;
mod query;
mod read;

use std::path::Path;

use api::bgpd::bgpd_control_server::BgpdControlServer;
use api::bgpd::bgpd_server::BgpdServer;
use daemonbase::grpc::{Address, ListenError, Listener};
use tokio::sync::watch;
use tonic::service::Routes;

use crate::supervisor::Shared;

pub use read::Reader;

/// For everyone in the group: questions only.
pub const READ_SOCKET: &str = "bgpd-read.sock";
/// For our own user: questions and commands.
pub const CONTROL_SOCKET: &str = "bgpd.sock";

/// Both sockets, bound; [`Sockets::serve`] starts answering.
pub struct Sockets {
    read: Listener,
    control: Listener,
}

impl Sockets {
    /// Binds both in `run_dir`.
    pub async fn bind(run_dir: &Path) -> Result<Sockets, ListenError> {
        let at = |name: &str| Address::Unix(run_dir.join(name));
        let control = Listener::bind(&at(CONTROL_SOCKET), 0o600).await?;
        Ok(Sockets { read: Listener::bind(&at(READ_SOCKET), 0o660).await?, control })
    }

    /// Answers until `stop`.
    pub fn serve(self, shared: &Shared, stop: &watch::Receiver<bool>) {
        let reader = Reader::new(shared.clone());
        let control = control::Control::new(shared.clone());
        let open = Routes::new(BgpdServer::new(reader.clone()));
        let closed = Routes::new(BgpdServer::new(reader)).add_service(BgpdControlServer::new(control));
        for (listener, routes) in [(self.read, open), (self.control, closed)] {
            let stop = stop.clone();
            tokio::spawn(async move {
                if let Err(e) = listener.serve(routes, stop).await {
                    tracing::error!("gRPC ended: {}", daemonbase::grpc::innermost(&e));
                }
            });
        }
    }
}
