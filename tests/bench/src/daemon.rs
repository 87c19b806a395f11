//! bgpd as a child process: its configuration, its end, what /proc says of it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Read;

use crate::{Args, DUT_AS, FEED_AS, HOLD_TIME, SINK_AS, daemon_address};

/// Ends with this value.
pub(crate) struct Daemon {
    child: Child,
    dir: PathBuf,
}

/// What it has used so far.
pub(crate) struct Use {
    pub(crate) cpu_s: f64,
    pub(crate) rss: u64,
    pub(crate) peak: u64,
}

/// A neighbour that only the timing of the start uses.
const PROBE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 253);

impl Daemon {
    /// Starts it; how long its first OPEN took.
    pub(crate) fn start(args: &Args, feeds: &[Ipv4Addr], sinks: &[Ipv4Addr]) -> Result<(Daemon, Duration)> {
        let dir = std::env::temp_dir().join(format!("bgpd-bench-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let file = dir.join("bgpd.toml");
        fs::write(&file, config(&dir, feeds, sinks)?)?;
        let mut command = match &args.cpus {
            None => Command::new(&args.bgpd),
            Some(cpus) => {
                let mut c = Command::new("taskset");
                c.args(["--cpu-list", cpus]).arg(&args.bgpd);
                c
            }
        };
        let began = Instant::now();
        let child = command
            .arg("--config")
            .arg(&file)
            .spawn()
            .with_context(|| format!("{}: cargo build --release -p bgpd", args.bgpd.display()))?;
        let mut daemon = Daemon { child, dir };
        daemon.first_open()?;
        Ok((daemon, began.elapsed()))
    }

    fn first_open(&mut self) -> Result<()> {
        let (from, to) = (SocketAddrV4::new(PROBE, 0), SocketAddrV4::new(daemon_address(PROBE), 179));
        for _ in 0..5000 {
            if let Some(status) = self.child.try_wait()? {
                bail!("bgpd ended at once: {status}");
            }
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&from.into())?;
            if socket.connect(&to.into()).is_ok() && TcpStream::from(socket).read_exact(&mut [0; 19]).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("bgpd does not listen")
    }

    pub(crate) fn use_of(&self) -> Result<Use> {
        let pid = self.child.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("bgpd is gone")?;
        let after = stat.rsplit(')').next().unwrap_or_default();
        let mut ticks = after.split_whitespace().skip(11).map_while(|n| n.parse::<u64>().ok());
        let cpu = ticks.next().unwrap_or(0) + ticks.next().unwrap_or(0);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |key: &str| -> u64 {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        // USER_HZ is 100 on every architecture that we build for.
        Ok(Use { cpu_s: cpu as f64 / 100.0, rss: kib("VmRSS:") * 1024, peak: kib("VmHWM:") * 1024 })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn config(dir: &std::path::Path, feeds: &[Ipv4Addr], sinks: &[Ipv4Addr]) -> Result<String> {
    let dir = dir.display();
    let mut t = format!(
        "[bgp]\nlocal_as = {DUT_AS}\nrouter_id = \"192.0.2.1\"\nlab = true\nlisten = [\"0.0.0.0\"]\n\
         [daemon]\nrun_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\nlog = \"error\"\n[fib]\nenabled = false\n\
         [[group]]\nname = \"feeds\"\nremote_as = {FEED_AS}\nrelation = \"transit\"\nexport = false\n\
         [[group]]\nname = \"sinks\"\nremote_as = {SINK_AS}\nrelation = \"customer\"\nallowed_prefixes = [\"0.0.0.0/0\"]\n",
        DUT_AS = DUT_AS.0,
        FEED_AS = FEED_AS.0,
        SINK_AS = SINK_AS.0,
    );
    let rows = feeds.iter().map(|a| ("feeds", a)).chain(sinks.iter().map(|a| ("sinks", a)));
    for (group, address) in rows.chain([("sinks", &PROBE)]) {
        write!(
            t,
            "[[neighbor]]\nname = \"n-{address}\"\ngroup = \"{group}\"\naddress = \"{address}\"\npolicy = \"accept-all\"\n\
             passive = true\nfamilies = [\"ipv4-unicast\"]\nhold_time = {HOLD_TIME}\nmax_prefix = {{ \"ipv4-unicast\" = {{ limit = 100000000 }} }}\n",
        )?;
    }
    Ok(t)
}
