//! What can go wrong, as one line and an exit code.

use daemonbase::exit;
use daemonbase::grpc::{ConnectError, innermost};
use tonic::{Code, Status};

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon is not there.
    Unreachable(ConnectError),
    /// The daemon said no, or went away in the middle.
    Status(Status),
    /// Nothing matches the question.
    NotFound(String),
    /// What was typed does not make sense.
    Usage(String),
    /// Standard output is gone.
    Output(std::io::Error),
}

impl Failure {
    /// The documented exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Unreachable(_) => exit::UNREACHABLE,
            Failure::Status(s) if lost(s) => exit::UNREACHABLE,
            Failure::Status(s) => match s.code() {
                Code::InvalidArgument => exit::USAGE,
                Code::FailedPrecondition | Code::PermissionDenied => exit::REFUSED,
                Code::Unavailable | Code::DeadlineExceeded => exit::UNREACHABLE,
                _ => exit::FINDING,
            },
            Failure::NotFound(_) | Failure::Output(_) => exit::FINDING,
            Failure::Usage(_) => exit::USAGE,
        }
    }
}

/// True if the connection broke rather than the daemon answered.
fn lost(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Failure::Unreachable(e) => e.to_string(),
            Failure::Status(s) if lost(s) => format!("the daemon went away: {}; is it running?", innermost(s)),
            Failure::Status(s) if s.code() == Code::Unimplemented => {
                "the daemon at this endpoint does not offer that: is it the right one (--bgpd, --ipam)?".to_owned()
            }
            Failure::Status(s) if s.message().is_empty() => format!("the daemon answered {:?}", s.code()),
            Failure::Status(s) => s.message().to_owned(),
            Failure::NotFound(what) | Failure::Usage(what) => what.clone(),
            Failure::Output(e) => format!("cannot write the answer: {e}"),
        };
        f.write_str(&text.replace('\n', " "))
    }
}

impl From<Status> for Failure {
    fn from(s: Status) -> Failure {
        Failure::Status(s)
    }
}

impl From<ConnectError> for Failure {
    fn from(e: ConnectError) -> Failure {
        Failure::Unreachable(e)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        Failure::Output(e)
    }
}
