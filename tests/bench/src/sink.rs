//! Neighbours that take the table: a thread each, and for each prefix whether what was heard last is right.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bgp_wire::{Message, PathAttributes};
use net_types::{Asn, Prefix};
use test_tables::Table;
use test_tables::session::{Session, receive};

/// What a sink must hold: prefix -> its number and what its path looks like.
pub(crate) struct Right {
    routes: HashMap<Prefix, (u32, u64)>,
}

/// Attributes that go through unchanged, AS_PATH with what was put in front.
fn look(a: &PathAttributes) -> u64 {
    let mut h = DefaultHasher::new();
    (a.origin, &a.as_path, &a.communities).hash(&mut h);
    h.finish()
}

impl Right {
    pub(crate) fn new(table: &Table, ours: Asn, feed: Asn) -> Right {
        let mut routes = HashMap::new();
        for (attributes, prefixes) in &table.groups {
            let as_path = attributes.as_path.prepend(feed, 1).prepend(ours, 1);
            let look = look(&PathAttributes { as_path, ..attributes.clone() });
            for p in prefixes {
                routes.insert(*p, (routes.len() as u32, look));
            }
        }
        Right { routes }
    }
}

/// All sinks' state.
struct Score {
    /// Of each sink: prefixes that it holds rightly, and all that it holds.
    sinks: Vec<(usize, usize)>,
    last: Instant,
    failed: Option<String>,
}

impl Score {
    fn all(&self, wanted: usize) -> bool {
        self.sinks.iter().all(|s| *s == (wanted, wanted))
    }
}

pub(crate) struct Sinks {
    score: Arc<(Mutex<Score>, Condvar)>,
}

impl Sinks {
    /// A thread for each session.
    pub(crate) fn start(right: &Arc<Right>, sessions: Vec<(TcpStream, Session)>) -> Result<Sinks> {
        let score = Score { sinks: vec![(0, 0); sessions.len()], last: Instant::now(), failed: None };
        let score = Arc::new((Mutex::new(score), Condvar::new()));
        for (i, (stream, session)) in sessions.into_iter().enumerate() {
            let (right, score) = (Arc::clone(right), Arc::clone(&score));
            std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
                let Err(e) = take(i, stream, session, &right, &score) else { return };
                if let Ok(mut s) = score.0.lock() {
                    s.failed.get_or_insert(format!("sink {i}: {e:#}"));
                    score.1.notify_all();
                }
            })?;
        }
        Ok(Sinks { score })
    }

    /// Until every sink holds `wanted` prefixes, all of them right.
    pub(crate) fn wait(&self, wanted: usize, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        let mut s = self.score.0.lock().ok().context("a sink panicked")?;
        while s.failed.is_none() && !s.all(wanted) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let least = s.sinks.iter().map(|s| s.0).min().unwrap_or(0);
                bail!("not there after {} s: {wanted} routes wanted, a sink has {least}", limit.as_secs());
            }
            s = self.score.1.wait_timeout(s, left).ok().context("a sink panicked")?.0;
        }
        s.failed.as_ref().map_or(Ok(()), |why| bail!("{why}"))
    }

    /// Fails if a sink's table is not (or no longer) right.
    pub(crate) fn check(&self, wanted: usize) -> Result<()> {
        let s = self.score.0.lock().ok().context("a sink panicked")?;
        ensure!(s.all(wanted), "a sink's table changed again");
        Ok(())
    }

    /// When a sink last heard something.
    pub(crate) fn last(&self) -> Instant {
        self.score.0.lock().map_or_else(|_| Instant::now(), |s| s.last)
    }
}

fn take(
    i: usize,
    mut stream: TcpStream,
    session: Session,
    right: &Right,
    score: &(Mutex<Score>, Condvar),
) -> Result<()> {
    let Session { context, mut buffer, .. } = session;
    // 0: not held, 1: held and wrong, 2: held and right.
    let mut state = vec![0_u8; right.routes.len()];
    let (mut good, mut held) = (0_usize, 0_usize);
    loop {
        let Message::Update(update) = receive(&mut stream, &mut buffer, &context)? else { continue };
        ensure!(update.errors.is_empty(), "a malformed UPDATE: {:?}", update.errors);
        let look = look(&update.attributes);
        let gone = update.unreach.iter().flat_map(|u| &u.nlri).map(|n| (n.prefix, None));
        let new = update.reach.iter().flat_map(|r| &r.nlri).map(|n| (n.prefix, Some(look)));
        for (prefix, heard) in gone.chain(new) {
            let (at, wanted) = right.routes.get(&prefix).with_context(|| format!("{prefix} is not of the table"))?;
            let now = match heard {
                None => 0,
                Some(l) => 1 + u8::from(l == *wanted),
            };
            let Some(was) = state.get_mut(*at as usize) else { continue };
            good = good + usize::from(now == 2) - usize::from(*was == 2);
            held = held + usize::from(now > 0) - usize::from(*was > 0);
            *was = now;
        }
        // Told once what was read is through: a lock a message would be what is measured.
        if bgp_wire::message::frame(&buffer, bgp_wire::message::MAX_LEN).is_ok_and(|f| f.is_none()) {
            let mut s = score.0.lock().ok().context("another sink panicked")?;
            s.last = Instant::now();
            if let Some(sink) = s.sinks.get_mut(i) {
                *sink = (good, held);
            }
            score.1.notify_all();
        }
    }
}
