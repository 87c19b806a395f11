//! Signals as values.

use tokio::signal::unix::{self, SignalKind};

/// What a person or systemd asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the file again and apply what changed.
    Reload,
    /// SIGTERM or SIGINT: stop in order.
    Stop,
}

/// The process's signals. From its creation on SIGHUP, SIGTERM and SIGINT no longer kill.
#[derive(Debug)]
pub struct Signals {
    hangup: unix::Signal,
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// Takes the signals over. Call inside the runtime.
    pub fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: unix::signal(SignalKind::hangup())?,
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    /// The next one. Cancel safe: a signal that arrives while nobody waits is kept (several of a kind count as one).
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Sig, getpid, kill_process};

    #[tokio::test]
    async fn hangup_reloads_and_terminate_stops() {
        let mut s = Signals::new().unwrap();
        kill_process(getpid(), Sig::HUP).unwrap();
        assert_eq!(s.next().await, Signal::Reload);
        kill_process(getpid(), Sig::TERM).unwrap();
        assert_eq!(s.next().await, Signal::Stop);
    }
}
