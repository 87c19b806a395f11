//! One watcher of a site's announcements.
//!
//! A watcher is a position, not a queue: it asks for the difference since its revision when the client can take a
//! message, so a slow one gets many changes as one, and costs nothing while it is slow. A message that waits in the
//! channel and what HTTP/2's window holds are all that is ever buffered.

use crate::book::{Book, Difference};
use crate::service::{status, texts};
use api::ipam::AnnouncementSet;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The stream of a watcher.
pub(crate) type Sets = ReceiverStream<Result<AnnouncementSet, Status>>;

/// Follows `site` from revision `since` of this store (`None`: from nothing). Ends with the client, or when `stop`
/// becomes true.
pub(crate) fn start(book: Book, site: String, since: Option<u64>, mut stop: watch::Receiver<bool>) -> Sets {
    let (send, sets) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = follow(&book, &site, since, &send) => {}
            _ = stop.wait_for(|s| *s) => {}
        }
        tracing::info!(site, "watch ends");
    });
    ReceiverStream::new(sets)
}

async fn follow(book: &Book, site: &str, since: Option<u64>, send: &mpsc::Sender<Result<AnnouncementSet, Status>>) {
    let mut revisions = book.revisions();
    let mut at = since;
    // The first message is sent even if nothing is missing: it tells the client that it is up to date.
    let mut owed = true;
    loop {
        let Ok(room) = send.reserve().await else { return };
        let difference = loop {
            revisions.mark_unchanged();
            match book.difference(site.to_owned(), at).await {
                Ok(d) if owed || d.snapshot || !d.announce.is_empty() || !d.withdraw.is_empty() => break d,
                Ok(d) => at = Some(d.revision),
                Err(e) => return room.send(Err(status(e))),
            }
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return },
                () = send.closed() => return,
            }
        };
        at = Some(difference.revision);
        owed = false;
        room.send(Ok(message(book, &difference)));
    }
}

fn message(book: &Book, d: &Difference) -> AnnouncementSet {
    AnnouncementSet {
        revision: d.revision,
        store_id: book.store_id().to_owned(),
        snapshot: d.snapshot,
        announce: texts(&d.announce),
        withdraw: texts(&d.withdraw),
    }
}
