//! A containerlab topology as this runner understands it.
//!
//! The way of a byte: `<name>.clab.yml` -> [`crate::yaml`] (lines kept) -> [`Topology`], every value checked here, so
//! that bringing up can only fail for reasons of the machine. Invariants: every link end names a node that exists and
//! an interface used once; every bind's source exists; a node's image is in the table of [`crate::images`] or the node
//! has a `cmd`. What containerlab knows and this runner does not is refused by name and line, never skipped: a lab that
//! is half-run must not pass.
//!
//! Inheritance is containerlab's: node over kind over defaults; lists and maps are joined, the nearest value winning.

use crate::images;
use crate::yaml::{Doc, Refusal, with_document};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Keys of a node, of a kind and of `defaults` that this runner implements.
pub const NODE_KEYS: [&str; 8] = ["kind", "image", "exec", "binds", "env", "sysctls", "cmd", "startup-delay"];
/// Keys of a link.
pub const LINK_KEYS: [&str; 2] = ["endpoints", "mtu"];

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Lab name.
    pub name: String,
    /// The file it was read from.
    pub file: PathBuf,
    /// Nodes in file order.
    pub nodes: Vec<Node>,
    /// Links in file order.
    pub links: Vec<Link>,
}

/// One node: a set of namespaces and at most one program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Name, which is also its host name.
    pub name: String,
    /// Image: chooses the program (see [`crate::images`]).
    pub image: String,
    /// Commands run once the links are there, before the program.
    pub exec: Vec<Vec<String>>,
    /// Files and folders of the lab that the node sees elsewhere.
    pub binds: Vec<Bind>,
    /// Environment of its commands and program.
    pub env: BTreeMap<String, String>,
    /// Kernel settings, such as `net.ipv4.ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// Program line instead of the image's own.
    pub cmd: Option<String>,
    /// Seconds to wait before the program starts.
    pub startup_delay: u64,
    /// Line of the node's name.
    pub line: usize,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Absolute source.
    pub source: PathBuf,
    /// Absolute target inside the node.
    pub target: PathBuf,
    /// `:ro`.
    pub read_only: bool,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// Node name.
    pub node: String,
    /// Interface name inside the node.
    pub interface: String,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.node, self.interface)
    }
}

impl std::str::FromStr for End {
    type Err = String;
    fn from_str(s: &str) -> Result<End, String> {
        let bad = |why: &str| Err(format!("endpoint {s:?}: {why}; write it as node:interface"));
        let Some((node, interface)) = s.split_once(':') else { return bad("has no colon") };
        if node.is_empty() {
            return bad("has no node");
        }
        // IFNAMSIZ is 16 with the closing zero; the kernel also refuses slashes and blanks.
        if interface.is_empty() || interface.len() > 15 {
            return bad("an interface name has 1 to 15 characters");
        }
        if !interface.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return bad("an interface name is made of letters, digits, `-`, `_` and `.`");
        }
        if interface == "lo" || interface == "." || interface == ".." {
            return bad("this interface name is taken by the kernel");
        }
        Ok(End { node: node.to_owned(), interface: interface.to_owned() })
    }
}

/// A veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// One end.
    pub a: End,
    /// The other end.
    pub b: End,
    /// MTU of both ends.
    pub mtu: Option<u64>,
}

impl Topology {
    /// Reads and checks a topology file.
    pub fn read(file: &Path) -> Result<Topology, Refusal> {
        let text = std::fs::read_to_string(file).map_err(|e| Refusal {
            file: file.to_owned(),
            line: 0,
            what: format!("cannot be read: {e}; name a lab of `--list` or a .clab.yml file"),
        })?;
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        Topology::parse(&file, &text)
    }

    /// Checks a topology given as text; `file` tells where relative binds start.
    pub fn parse(file: &Path, text: &str) -> Result<Topology, Refusal> {
        with_document(file, text, |doc| topology(file, doc))
    }

    /// The same lab with another daemon in the place of ours: each node of image `artere/bgpd` runs `image`, configured by
    /// `IMAGE/NODE.conf` beside the topology.
    pub fn with_daemon(mut self, image: &str) -> Result<Topology, Refusal> {
        let dir = self.file.with_file_name(image);
        let refuse = |what: String| Refusal { file: dir.clone(), line: 0, what };
        let Some(config) = images::find(image).and_then(|i| i.config) else {
            return Err(refuse(format!("image `{image}` is not known here, or takes no configuration")));
        };
        for node in self.nodes.iter_mut().filter(|n| n.image == images::BGPD) {
            let source = dir.join(format!("{}.conf", node.name));
            if !source.exists() {
                return Err(refuse(format!("there is no {}", source.display())));
            }
            let bind = Bind { source, target: config.into(), read_only: true };
            (node.image, node.cmd, node.binds) = (image.to_owned(), None, vec![bind]);
        }
        Ok(self)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The other end of the link that ends in `end`.
    pub fn far_end(&self, end: &End) -> Option<&End> {
        self.links.iter().find_map(|l| match () {
            () if l.a == *end => Some(&l.b),
            () if l.b == *end => Some(&l.a),
            () => None,
        })
    }
}

fn topology(file: &Path, doc: Doc<'_>) -> Result<Topology, Refusal> {
    let mut top = doc.map("the topology file")?;
    let name_doc = top.need("name")?;
    let name = name_doc.text("name")?;
    check_name(&name_doc, "lab name", &name)?;
    let mut inner = top.need("topology")?.map("`topology`")?;
    top.finish(&["name", "topology"])?;

    let defaults = inner.take("defaults").map(|d| Layer::read(d, "`defaults`")).transpose()?.unwrap_or_default();
    let mut kinds = BTreeMap::new();
    if let Some(k) = inner.take("kinds") {
        for (kind, d) in k.map("`kinds`")?.rest() {
            check_kind(&d, &kind)?;
            kinds.insert(kind.clone(), Layer::read(d, &format!("kind `{kind}`"))?);
        }
    }
    let mut nodes = Vec::new();
    let node_docs = inner.need("nodes")?;
    for (node_name, d) in node_docs.map("`nodes`")?.rest() {
        check_name(&d, "node name", &node_name)?;
        nodes.push(node(file, &node_name, d, &defaults, &kinds)?);
    }
    if nodes.is_empty() {
        return Err(node_docs.refuse("a lab has at least one node"));
    }
    let links = links(inner.take("links"), &nodes)?;
    inner.finish(&["nodes", "links", "defaults", "kinds"])?;
    Ok(Topology { name, file: file.to_owned(), nodes, links })
}

/// What `defaults`, a kind or a node says, before joining.
#[derive(Default)]
struct Layer<'a> {
    kind: Option<String>,
    image: Option<String>,
    exec: Vec<(Doc<'a>, String)>,
    binds: Vec<(Doc<'a>, String)>,
    env: Vec<(String, String)>,
    sysctls: Vec<(Doc<'a>, String, String)>,
    cmd: Option<String>,
    startup_delay: Option<u64>,
}

impl<'a> Layer<'a> {
    fn read(doc: Doc<'a>, what: &str) -> Result<Layer<'a>, Refusal> {
        if doc.is_null() {
            return Ok(Layer::default());
        }
        let mut m = doc.map(what)?;
        let texts = |d: Option<Doc<'a>>, key: &str| -> Result<Vec<(Doc<'a>, String)>, Refusal> {
            let Some(d) = d else { return Ok(Vec::new()) };
            d.list(key)?.into_iter().map(|i| Ok((i, i.text(key)?))).collect()
        };
        let layer = Layer {
            kind: m.take("kind").map(|d| check_kind_value(&d)).transpose()?,
            image: m.take("image").map(|d| d.text("image")).transpose()?,
            exec: texts(m.take("exec"), "exec")?,
            binds: texts(m.take("binds"), "binds")?,
            env: m.take("env").map(|d| d.pairs("env")).transpose()?.unwrap_or_default(),
            sysctls: match m.take("sysctls") {
                Some(d) => d
                    .map("sysctls")?
                    .rest()
                    .into_iter()
                    .map(|(k, v)| Ok((v, k.clone(), v.text(&k)?)))
                    .collect::<Result<_, Refusal>>()?,
                None => Vec::new(),
            },
            cmd: m.take("cmd").map(|d| d.text("cmd")).transpose()?,
            startup_delay: m.take("startup-delay").map(|d| d.number("startup-delay")).transpose()?,
        };
        m.finish(&NODE_KEYS)?;
        Ok(layer)
    }
}

fn node(
    file: &Path,
    name: &str,
    doc: Doc<'_>,
    defaults: &Layer<'_>,
    kinds: &BTreeMap<String, Layer<'_>>,
) -> Result<Node, Refusal> {
    let own = Layer::read(doc, &format!("node `{name}`"))?;
    let kind = own.kind.clone().or_else(|| defaults.kind.clone());
    let Some(kind) = kind else {
        return Err(doc.refuse(format!("node `{name}` has no kind: write `kind: linux`")));
    };
    let empty = Layer::default();
    let layers = [defaults, kinds.get(&kind).unwrap_or(&empty), &own];
    let mut node = Node { name: name.to_owned(), line: doc.line(), ..Node::default() };
    for layer in layers {
        node.image = layer.image.clone().unwrap_or(node.image);
        node.cmd = layer.cmd.clone().or(node.cmd);
        node.startup_delay = layer.startup_delay.unwrap_or(node.startup_delay);
        node.env.extend(layer.env.iter().cloned());
        for (at, key, value) in &layer.sysctls {
            check_sysctl(at, key)?;
            node.sysctls.insert(key.clone(), value.clone());
        }
        for (at, line) in &layer.exec {
            let words = shlex::split(line).filter(|w| !w.is_empty());
            let words = words.ok_or_else(|| at.refuse(format!("exec {line:?} is empty or has an open quote")))?;
            node.exec.push(words);
        }
        for (at, text) in &layer.binds {
            let bind = bind(file, at, text)?;
            node.binds.retain(|b| b.target != bind.target);
            node.binds.push(bind);
        }
    }
    if images::find(&node.image).is_none() {
        let known = images::IMAGES.iter().map(|i| i.name).collect::<Vec<_>>().join(", ");
        let what = match node.image.as_str() {
            "" => format!("node `{name}` has no image: write one of {known}"),
            image => format!("node `{name}`: image `{image}` stands for no local program; known images: {known}"),
        };
        return Err(doc.refuse(what));
    }
    Ok(node)
}

fn bind(file: &Path, at: &Doc<'_>, text: &str) -> Result<Bind, Refusal> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match *parts.as_slice() {
        [s, t] => (s, t, "rw"),
        [s, t, m @ ("ro" | "rw")] => (s, t, m),
        _ => return Err(at.refuse(format!("bind {text:?}: write it as source:target or source:target:ro"))),
    };
    let target = PathBuf::from(target);
    if !target.is_absolute() || target.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(at.refuse(format!("bind {text:?}: the target must be an absolute path without `..`")));
    }
    let source = file.parent().unwrap_or(Path::new("/")).join(source);
    let source = std::fs::canonicalize(&source)
        .map_err(|e| at.refuse(format!("bind {text:?}: {}: {e}; create it or correct the path", source.display())))?;
    Ok(Bind { source, target, read_only: mode == "ro" })
}

fn links(doc: Option<Doc<'_>>, nodes: &[Node]) -> Result<Vec<Link>, Refusal> {
    let Some(doc) = doc else { return Ok(Vec::new()) };
    let names: BTreeSet<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    let mut used: BTreeMap<End, usize> = BTreeMap::new();
    let mut links = Vec::new();
    for d in doc.list("links")? {
        let mut m = d.map("a link")?;
        let ends = m.need("endpoints")?;
        let mtu_doc = m.take("mtu");
        m.finish(&LINK_KEYS)?;
        let mtu = match mtu_doc {
            Some(d) => match d.number("mtu")? {
                n @ 68..=65535 => Some(n),
                n => return Err(d.refuse(format!("mtu {n}: a veth takes 68 to 65535"))),
            },
            None => None,
        };
        let mut both = Vec::new();
        for e in ends.list("endpoints")? {
            let end: End = e.text("an endpoint")?.parse().map_err(|why| e.refuse(why))?;
            if !names.contains(end.node.as_str()) {
                return Err(e.refuse(format!("endpoint {end}: there is no node `{}`", end.node)));
            }
            if let Some(line) = used.insert(end.clone(), e.line()) {
                return Err(
                    e.refuse(format!("endpoint {end} is used already on line {line}: an interface has one link"))
                );
            }
            both.push(end);
        }
        let [a, b] =
            <[End; 2]>::try_from(both).map_err(|v| ends.refuse(format!("a link has 2 ends, not {}", v.len())))?;
        links.push(Link { a, b, mtu });
    }
    Ok(links)
}

fn check_kind(doc: &Doc<'_>, kind: &str) -> Result<(), Refusal> {
    if kind == "linux" {
        return Ok(());
    }
    Err(doc.refuse(format!("kind `{kind}` is not implemented by this runner; only `linux` is")))
}

fn check_kind_value(doc: &Doc<'_>) -> Result<String, Refusal> {
    let kind = doc.text("kind")?;
    check_kind(doc, &kind)?;
    Ok(kind)
}

fn check_name(doc: &Doc<'_>, what: &str, name: &str) -> Result<(), Refusal> {
    let ok = !name.is_empty()
        && name.len() <= 40
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if ok {
        return Ok(());
    }
    let rule = "1 to 40 letters, digits, `-`, `_`, `.`, first a letter or digit";
    Err(doc.refuse(format!("{what} {name:?}: {rule}")))
}

fn check_sysctl(doc: &Doc<'_>, key: &str) -> Result<(), Refusal> {
    // Everything else is shared by the whole machine: a lab must not turn knobs it cannot turn back.
    if key.starts_with("net.") && !key.contains("..") && !key.contains('/') {
        return Ok(());
    }
    Err(doc.refuse(format!("sysctl `{key}`: only net.* belongs to a node; the rest is the machine's")))
}
