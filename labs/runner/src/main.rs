//! `lab-runner`: what `labs/run` starts once everything is built. See the library for how it works.

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use lab_runner::ctl::{self, Act};
use lab_runner::report::{note, say};
use lab_runner::state::{Lock, State};
use lab_runner::topology::Topology;
use lab_runner::up::{self, Lab};
use lab_runner::{enter, expect, feed, node, play};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Bring up a lab: its topology on plain network namespaces, its expectations checked.
#[derive(Parser)]
#[command(name = "labs/run", args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    hidden: Option<Hidden>,
    /// A lab of --list, or a .clab.yml file.
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// List the labs.
    #[arg(long)]
    list: bool,
    /// Bring up, check the expectations, take down; exit code 1 if one is not met.
    #[arg(long, conflicts_with_all = ["keep", "down", "check"])]
    once: bool,
    /// Check the expectations of FILE, bringing the lab up for it if it is not. A topology file (.yml) is only read and checked.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Let the operators play the routes of FILE, an MRT RIB dump (plain, .gz, .bz2), instead of generated ones.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Leave the lab up in the background (end it with --down).
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// End the lab, whoever holds it, and sweep up after one that was killed.
    #[arg(long)]
    down: bool,
    /// Run IMAGE where the lab runs our bgpd, configured by the lab's IMAGE/NODE.conf: other daemons in the same place.
    #[arg(long = "as", value_name = "IMAGE")]
    daemon: Option<String>,
    /// Name this copy NAME.SUFFIX, so that several copies can be up.
    #[arg(long, value_name = "SUFFIX")]
    instance: Option<String>,
    /// Run a command inside NODE of the lab that is up: --exec NODE -- COMMAND.
    #[arg(long, value_name = "NODE")]
    exec: Option<String>,
    /// Cut the fibre that ends in NODE:IF.
    #[arg(long, value_name = "NODE:IF")]
    cut: Option<String>,
    /// Splice the fibre that ends in NODE:IF.
    #[arg(long, value_name = "NODE:IF")]
    heal: Option<String>,
    /// Let things happen to the lab under counted packets: the plays of FILE, or of the lab's plays/*.json. The lab is
    /// brought up for it if it is not; exit code 1 if a play costs more than it may.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with_all = ["keep", "down", "check", "once"])]
    play: Option<Option<PathBuf>>,
    /// Of --play, only plays whose name contains TEXT (with what they continue and what continues them).
    #[arg(long, value_name = "TEXT", requires = "play")]
    only: Option<String>,
    /// How --play prints: a table to paste into a document, or json with every address.
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t, requires = "play")]
    output: Output,
    /// Folder of the labs.
    #[arg(long, value_name = "DIR", hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    labs: PathBuf,
    /// Hold a lab in the background: what --keep starts.
    #[arg(long, hide = true)]
    hold: bool,
    /// With --keep: the lab goes down with process PID, however that one ends.
    #[arg(long, value_name = "PID", hide = true)]
    owner: Option<u32>,
    /// The command of --exec.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Form of what is printed.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

#[derive(Subcommand)]
enum Hidden {
    /// Hands on a lab that is up, for tests: kill, start, cut, heal, exec.
    #[command(hide = true)]
    Ctl {
        /// Lab, or LAB.SUFFIX.
        lab: String,
        #[command(subcommand)]
        act: Act,
    },
    #[command(name = "__node", hide = true)]
    Node { spec: PathBuf },
    #[command(name = "__init", hide = true)]
    Init { spec: PathBuf },
    #[command(name = "__enter", hide = true)]
    Enter(enter::EnterArgs),
    #[command(name = "__launch", hide = true)]
    Launch {
        #[arg(last = true, required = true)]
        argv: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.hidden {
        Some(Hidden::Node { spec }) => node::outer(spec).map(|()| ExitCode::SUCCESS),
        Some(Hidden::Init { spec }) => node::init(spec).map(|()| ExitCode::SUCCESS),
        Some(Hidden::Enter(e)) => enter::enter(e),
        Some(Hidden::Launch { argv }) => enter::launch(argv),
        Some(Hidden::Ctl { lab, act }) => need_root().and_then(|()| ctl::act(lab, act)),
        None => run(&args),
    };
    result.unwrap_or_else(|e| {
        note(&format!("labs/run: {e:#}"));
        ExitCode::from(2)
    })
}

fn need_root() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "needs root (it makes network namespaces): run it with sudo");
    Ok(())
}

fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        return list(&args.labs);
    }
    let name = args.name.as_deref().context("name a lab")?;
    let mut topology = Topology::read(&find(&args.labs, name)?)?;
    if let Some(image) = &args.daemon {
        topology = topology.with_daemon(image)?;
    }
    if let Some(file) = args.check.as_deref().filter(|f| f.extension().is_some_and(|e| e == "yml" || e == "yaml")) {
        let t = Topology::read(file)?;
        say(format!("{}: lab {}, {} nodes, {} links: sound", file.display(), t.name, t.nodes.len(), t.links.len()));
        return Ok(ExitCode::SUCCESS);
    }
    need_root()?;
    let instance = match &args.instance {
        Some(suffix) => {
            let ok = !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            ensure!(ok, "--instance {suffix:?}: letters, digits and `-` only");
            format!("{}.{suffix}", topology.name)
        }
        None => topology.name.clone(),
    };
    if args.down {
        let was = up::down(&instance)?;
        note(&if was { format!("lab {instance} is down") } else { format!("lab {instance} was not up") });
        return Ok(ExitCode::SUCCESS);
    }
    let act = match (&args.exec, &args.cut, &args.heal) {
        (Some(node), ..) => Some(Act::Exec { node: node.clone(), argv: args.command.clone() }),
        (_, Some(end), _) => Some(Act::Cut { end: end.clone() }),
        (_, _, Some(end)) => Some(Act::Heal { end: end.clone() }),
        _ => None,
    };
    if let Some(act) = act {
        ensure!(args.exec.is_none() || !args.command.is_empty(), "--exec NODE -- COMMAND: no command given");
        return ctl::act(&instance, &act);
    }
    let mut wanted = match &args.check {
        Some(file) => expect::read(file)?,
        None => {
            let read = |f: &PathBuf| expect::read(f);
            expect::files(&topology.file)?.iter().map(read).collect::<Result<Vec<_>>>()?.concat()
        }
    };
    wanted.retain(|e| e.image.is_none() || topology.node(&e.node).is_none_or(|n| e.image.as_ref() == Some(&n.image)));
    let scripts = match &args.play {
        Some(Some(file)) => vec![play::read(file)?],
        Some(None) => play::files(&topology.file)?.iter().map(|f| play::read(f)).collect::<Result<_>>()?,
        None => Vec::new(),
    };
    ensure!(args.play.is_none() || !scripts.is_empty(), "lab {} has no plays (plays/*.json)", topology.name);
    if (args.check.is_some() || args.play.is_some()) && Lock::holder(&instance).is_some() {
        let state = State::read(&instance)?;
        ensure!(state.up, "lab {instance} is coming up: wait until it stands");
        return if args.play.is_some() { perform(args, &state, &scripts, &wanted) } else { verdict(&state, &wanted) };
    }
    let table = read_table(args, &topology)?;
    if let Some(GivenTable { routes: (v4, v6), .. }) = table {
        // The times were written for 20,000 routes.
        wanted.iter_mut().for_each(|e| e.within += (v4 + v6) as u64 / 2_000);
    }
    if args.keep {
        return keep(&instance, &wanted);
    }
    up::catch_signals()?;
    let owner = args.owner.map(Owner::of);
    ensure!(owner.as_ref().is_none_or(Owner::lives), "--owner: there is no such process");
    let started = Instant::now();
    let lab = Lab::up(&with_table(&topology, &table), &instance, &[])?;
    let seconds = started.elapsed().as_secs_f32();
    note(&format!(
        "{instance}: {} nodes and {} links stand after {seconds:.1} s",
        topology.nodes.len(),
        topology.links.len()
    ));
    if args.hold {
        while !up::interrupted() && owner.as_ref().is_none_or(Owner::lives) {
            std::thread::sleep(Duration::from_millis(100));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.play.is_some() {
        return perform(args, &lab.state, &scripts, &wanted);
    }
    let code = verdict(&lab.state, &wanted)?;
    if args.once || args.check.is_some() {
        return Ok(code);
    }
    print_try(&topology, &instance);
    while !up::interrupted() {
        std::thread::sleep(Duration::from_millis(100));
    }
    note(&format!("{instance}: taking it down"));
    Ok(code)
}

/// Checks, prints the sum and the programs that ended on their own.
fn verdict(state: &State, wanted: &[expect::Expectation]) -> Result<ExitCode> {
    if wanted.is_empty() {
        note("no expectations (expect/*.json) in this lab");
    }
    let (met, unmet) = expect::check(state, wanted)?;
    let mut dead = 0;
    for n in state.nodes.iter().filter(|n| n.program.is_some()) {
        if enter::program_pid(n).is_none() {
            dead += 1;
            say(format!("FAILED           the program of node {} has ended: {}", n.name, up::log_tail(&n.log)));
        }
    }
    say(format!("{met} expectations met, {} not", unmet + dead));
    Ok(if unmet + dead == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Plays and prints.
fn perform(args: &Args, state: &State, scripts: &[play::Script], whole: &[expect::Expectation]) -> Result<ExitCode> {
    let table = args.output == Output::Table;
    if table {
        say(play::HEAD);
    }
    let mut lines = Vec::new();
    for script in scripts {
        let tell = |l: &play::Line| match table {
            true => say(play::row(l)),
            false => note(&play::row(l)),
        };
        lines.extend(play::all(state, script, whole, args.only.as_deref(), tell)?);
    }
    if !table {
        say(serde_json::to_string_pretty(&lines)?);
    }
    ensure!(!lines.is_empty(), "no play has such a name");
    Ok(ExitCode::from(u8::from(lines.iter().any(|l| !l.failed.is_empty()))))
}

/// A process for whose sake a lab stands.
struct Owner {
    pid: u32,
    started: Option<String>,
}

impl Owner {
    fn of(pid: u32) -> Owner {
        Owner { pid, started: started(pid) }
    }

    fn lives(&self) -> bool {
        self.started.is_some() && self.started == started(self.pid)
    }
}

/// When a process began (`starttime` of proc_pid_stat(5)): with its number, a name that is never given twice. None for
/// one that has ended, also while nobody has asked for its exit code.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| alive).map(str::to_owned)
}

fn list(labs: &Path) -> Result<ExitCode> {
    let dir = std::fs::read_dir(labs).with_context(|| format!("{} cannot be read", labs.display()))?;
    let mut names: Vec<PathBuf> = dir.flatten().map(|e| e.path()).collect();
    names.sort();
    for path in names {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let file = path.join(format!("{name}.clab.yml"));
        if !file.exists() {
            continue;
        }
        let readme = std::fs::read_to_string(path.join("README.md")).unwrap_or_default();
        let what = readme.lines().find(|l| !l.is_empty() && !l.starts_with('#')).unwrap_or_default();
        say(format!("{name:<16} {what}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn find(labs: &Path, name: &str) -> Result<PathBuf> {
    if name.ends_with(".yml") || name.ends_with(".yaml") {
        return Ok(PathBuf::from(name));
    }
    let file = labs.join(name).join(format!("{name}.clab.yml"));
    if name.contains('/') || !file.exists() {
        bail!("there is no lab {name:?}: labs/run --list names those there are");
    }
    Ok(file)
}

/// Name of the environment variable (and of the file in the node) through which a table reaches the feeders.
const TABLE: &str = "LAB_TABLE";
const TABLE_IN_NODE: &str = "/run/lab/table";

/// The nodes that play a table are those whose command asks for it.
fn plays_table(n: &lab_runner::topology::Node) -> bool {
    n.cmd.as_deref().is_some_and(|c| c.contains(TABLE))
}

/// A table given by hand: the file and how many routes (IPv4, IPv6) it holds.
struct GivenTable {
    file: PathBuf,
    routes: (usize, usize),
}

fn read_table(args: &Args, topology: &Topology) -> Result<Option<GivenTable>> {
    let Some(file) = &args.table else { return Ok(None) };
    ensure!(
        topology.nodes.iter().any(plays_table),
        "--table: no node of lab {} plays a table (none has {TABLE} in its cmd)",
        topology.name
    );
    let file = std::fs::canonicalize(file).with_context(|| format!("--table {}", file.display()))?;
    let (table, skipped) = feed::mrt::read(&file, |_| {})?;
    let routes = table.count();
    let skipped = skipped.describe();
    let skipped = if skipped.is_empty() { String::new() } else { format!("; skipped {skipped}") };
    note(&format!("{}: {} IPv4 and {} IPv6 routes{skipped}", file.display(), routes.0, routes.1));
    Ok(Some(GivenTable { file, routes }))
}

fn with_table(topology: &Topology, table: &Option<GivenTable>) -> Topology {
    let mut topology = topology.clone();
    let Some(GivenTable { file, routes }) = table else { return topology };
    for n in &mut topology.nodes {
        if plays_table(n) {
            let target = PathBuf::from(TABLE_IN_NODE);
            n.binds.push(lab_runner::topology::Bind { source: file.clone(), target, read_only: true });
            n.env.insert(TABLE.to_owned(), TABLE_IN_NODE.to_owned());
        }
        // For expectations, which may be of any node.
        n.env.insert("LAB_ROUTES4".to_owned(), routes.0.to_string());
        n.env.insert("LAB_ROUTES6".to_owned(), routes.1.to_string());
    }
    topology
}

/// Starts a holder in the background and checks the expectations from here.
fn keep(instance: &str, wanted: &[expect::Expectation]) -> Result<ExitCode> {
    if let Some(holder) = Lock::holder(instance) {
        bail!("lab {instance} is up already, held by process {holder}");
    }
    let mut child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1).filter(|a| a != "--keep"))
        .arg("--hold")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Ours would be kept open for as long as the lab stands, and whoever reads it would wait.
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let words = child.stderr.take().context("no pipe")?;
    let words = std::thread::spawn(move || BufReader::new(words).lines().map_while(Result::ok).for_each(|l| note(&l)));
    loop {
        if let Some(status) = child.try_wait()? {
            let _ = words.join();
            bail!("lab {instance} did not come up ({status})");
        }
        if let Ok(state) = State::read(instance)
            && state.up
            && state.runner == child.id()
        {
            let code = verdict(&state, wanted)?;
            note(&format!(
                "lab {instance} stays up, held by process {}; end it: labs/run {instance} --down",
                child.id()
            ));
            return Ok(code);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn print_try(topology: &Topology, instance: &str) {
    let dir = topology.file.parent().unwrap_or(Path::new("."));
    if let Ok(text) = std::fs::read_to_string(dir.join("try.txt")) {
        say(format!("\n{}", text.replace("{lab}", instance).trim_end()));
    }
    say("\nThe lab stands. Ctrl-C takes it down.");
}
