//! `BgpdControl`: commands. Only on the control socket.

use api::bgpd::{self as pb, bgpd_control_server::BgpdControl};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::read::find;
use crate::messages::Command;
use crate::supervisor::{Shared, SupervisorInput};

/// Longest Shutdown Communication (RFC 9003 §2).
const MESSAGE_MAX: usize = 255;

/// The service.
pub(super) struct Control {
    shared: Shared,
}

impl Control {
    pub(super) fn new(shared: Shared) -> Control {
        Control { shared }
    }
}

#[tonic::async_trait]
impl BgpdControl for Control {
    async fn reload(&self, _: Request<pb::ReloadRequest>) -> Result<Response<pb::ReloadResponse>, Status> {
        let (answer, reply) = oneshot::channel();
        let stopping = || Status::unavailable("bgpd is stopping");
        self.shared.supervisor.send(SupervisorInput::Reload(answer)).await.map_err(|_| stopping())?;
        let result = reply.await.map_err(|_| stopping())?;
        let (config_generation, changes) = result.map_err(Status::invalid_argument)?;
        Ok(Response::new(pb::ReloadResponse { config_generation, changes }))
    }

    async fn set_neighbor_enabled(
        &self,
        request: Request<pb::SetNeighborEnabledRequest>,
    ) -> Result<Response<pb::SetNeighborEnabledResponse>, Status> {
        let r = request.into_inner();
        if r.message.len() > MESSAGE_MAX {
            let text = format!("the message has {} octets: at most {MESSAGE_MAX} (RFC 9003 §2)", r.message.len());
            return Err(Status::invalid_argument(text));
        }
        let directory = self.shared.directory.borrow().clone();
        let entry = find(&directory, &r.neighbor)?;
        tracing::info!(neighbor = %entry.config.name, enabled = r.enabled, message = ?r.message, "by command");
        let command = Command::SetEnabled(r.enabled, r.message);
        entry.commands.send(command).await.map_err(|_| Status::not_found("the neighbour has just gone"))?;
        Ok(Response::new(pb::SetNeighborEnabledResponse {}))
    }

    async fn set_neighbor_drained(
        &self,
        request: Request<pb::SetNeighborDrainedRequest>,
    ) -> Result<Response<pb::SetNeighborDrainedResponse>, Status> {
        let r = request.into_inner();
        let directory = self.shared.directory.borrow().clone();
        let entry = find(&directory, &r.neighbor)?;
        if entry.config.relation.is_internal() {
            let text = format!(
                "{} is an iBGP neighbour: a drain is for eBGP sessions (RFC 8326 §3.1); drain those of the router that is worked on",
                entry.config.name
            );
            return Err(Status::failed_precondition(text));
        }
        tracing::info!(neighbor = %entry.config.name, drained = r.drained, "by command");
        let command = Command::SetDrained(r.drained);
        entry.commands.send(command).await.map_err(|_| Status::not_found("the neighbour has just gone"))?;
        Ok(Response::new(pb::SetNeighborDrainedResponse {}))
    }
}
