//! A stream of echo requests, a hundred a second, and what was lost of it. The witness is ping inside the sending node.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::Lab;

/// A stream under way.
pub struct Stream {
    child: Child,
    count: u32,
    what: String,
}

/// What came back.
#[derive(Debug)]
pub struct Outage {
    /// Packets sent.
    pub sent: u32,
    /// Packets without an answer.
    pub lost: u32,
    /// Longest run of lost packets, as time.
    pub longest: Duration,
}

impl Stream {
    /// A hundred packets a second from `node` to `to` for `seconds`.
    ///
    /// # Panics
    /// If ping cannot be started.
    pub fn start(lab: &Lab, node: &str, to: &str, seconds: u32) -> Stream {
        let count = seconds * 100;
        let child = lab
            .command(node, &["ping", "-n", "-i", "0.01", "-W", "1", "-c", &count.to_string(), to])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("ping starts");
        Stream { child, count, what: format!("{node} -> {to}") }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If ping's output cannot be read.
    pub fn finish(mut self) -> Outage {
        let mut text = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut text).expect("ping's output");
        let _ = self.child.wait();
        let seen: BTreeSet<u32> = text
            .lines()
            .filter(|l| l.contains("bytes from") && !l.contains("DUP"))
            .filter_map(|l| l.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        let (mut lost, mut run, mut longest) = (0, 0u32, 0u32);
        for seq in 1..=self.count {
            if seen.contains(&seq) {
                run = 0;
            } else {
                lost += 1;
                run += 1;
                longest = longest.max(run);
            }
        }
        let outage = Outage { sent: self.count, lost, longest: Duration::from_millis(u64::from(longest) * 10) };
        println!("{}: {outage:?}", self.what);
        outage
    }
}
