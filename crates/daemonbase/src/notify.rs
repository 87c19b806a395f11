//! What systemd is told. Without systemd (no `NOTIFY_SOCKET`) every call does nothing.

use sd_notify::NotifyState;

/// Start-up is finished: sockets listen and the last accepted state is loaded.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    // systemd 253 and later demands the time beside RELOADING=1 (Type=notify-reload).
    match NotifyState::monotonic_usec_now() {
        Ok(usec) => send(&[NotifyState::Reloading, usec]),
        Err(e) => tracing::warn!(error = %e, "no monotonic clock: systemd is not told of the reload"),
    }
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// The daemon is going down on purpose.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::warn!(error = %e, "systemd could not be told (NOTIFY_SOCKET)");
    }
}
