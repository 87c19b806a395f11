//! A neighbour's end of its BFD session.

use std::sync::Arc;

use bgp_core::bfd::SessionKey;
use bgp_core::config::BfdConfig;
use tokio::sync::watch;

use crate::bfd::{Handle, Report};

/// What the neighbour's task has the BFD thread watch, and what it was told so far.
#[derive(Debug)]
pub(super) struct BfdWatch {
    handle: Handle,
    watched: Option<(SessionKey, BfdConfig)>,
    reporter: Arc<watch::Sender<Report>>,
    report: watch::Receiver<Report>,
    failures: u64,
}

impl BfdWatch {
    pub(super) fn new(handle: Handle) -> BfdWatch {
        let (reporter, report) = watch::channel(Report::default());
        BfdWatch { handle, watched: None, reporter: Arc::new(reporter), report, failures: 0 }
    }

    /// Another path, another way to watch it, or none.
    pub(super) fn set(&mut self, wanted: Option<(SessionKey, &BfdConfig)>) {
        if self.watched.as_ref().map(|(k, c)| (*k, c)) == wanted {
            return;
        }
        if let Some((key, _)) = self.watched.take()
            && wanted.is_none_or(|(k, _)| k != key)
        {
            self.handle.remove(key);
            self.reporter.send_modify(|r| *r = Report { failures: r.failures, ..Report::default() });
        }
        if let Some((key, config)) = wanted {
            self.handle.set(key, config.clone(), Arc::clone(&self.reporter));
            self.watched = Some((key, config.clone()));
        }
    }

    /// Waits for the next report.
    pub(super) async fn changed(&mut self) {
        // The sender is ours, so it is never gone.
        let _ = self.report.changed().await;
    }

    /// The report as it stands, and whether the path failed since the last one was taken.
    pub(super) fn take(&mut self) -> (Report, bool) {
        let report = *self.report.borrow_and_update();
        let failed = report.failures > std::mem::replace(&mut self.failures, report.failures);
        (report, failed)
    }
}

impl Drop for BfdWatch {
    fn drop(&mut self) {
        self.set(None);
    }
}
