//! ipamd's messages for people, and the tree made of them.

use crate::output::{Cell, Page, Render, Row, Tone};
use api::ipam::*;
use net_types::Prefix;
use serde::Serialize;
use std::collections::HashMap;

/// A prefix that nobody has booked.
#[derive(Serialize)]
pub(crate) struct FreeBlock {
    pub(crate) prefix: String,
}

impl Row for FreeBlock {
    const COLUMNS: &'static [&'static str] = &["FREE"];
    fn cells(&self) -> Vec<Cell> {
        vec![self.prefix.as_str().into()]
    }
}

impl Render for Change {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        page.line(&self.message)
    }
}

impl Render for Assignment {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        page.line(format!("{} is booked for {}", self.prefix, self.owner))
    }
}

impl Row for Holding {
    const COLUMNS: &'static [&'static str] = &["HOLDING", "SOURCE"];
    fn cells(&self) -> Vec<Cell> {
        vec![self.prefix.as_str().into(), self.source.as_str().into()]
    }
}

impl Row for Site {
    const COLUMNS: &'static [&'static str] = &["SITE", "DESCRIPTION"];
    fn cells(&self) -> Vec<Cell> {
        vec![self.name.as_str().into(), self.description.as_str().into()]
    }
}

impl Row for Assignment {
    const COLUMNS: &'static [&'static str] = &["PREFIX", "OWNER", "SITE", "DESCRIPTION"];
    fn cells(&self) -> Vec<Cell> {
        [&self.prefix, &self.owner, &self.site, &self.description].map(|s| s.as_str().into()).into()
    }
}

impl Row for Announcement {
    const COLUMNS: &'static [&'static str] = &["ANNOUNCED", "FROM", "OWNER"];
    fn cells(&self) -> Vec<Cell> {
        vec![self.prefix.as_str().into(), self.sites.join(", ").into(), self.owner.as_str().into()]
    }
}

impl Render for ListResponse {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        page.table(&self.holdings)?;
        page.line("")?;
        page.table(&self.sites)?;
        if !self.assignments.is_empty() {
            page.line("")?;
            page.table(&self.assignments)?;
        }
        if !self.announcements.is_empty() {
            page.line("")?;
            page.table(&self.announcements)?;
        }
        Ok(())
    }
}

/// Holdings with what is booked and announced inside them.
#[derive(Serialize)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// A holding, an assignment, or an announcement of neither.
#[derive(Serialize)]
struct Node {
    prefix: String,
    kind: &'static str,
    owner: String,
    site: String,
    description: String,
    announced_from: Vec<String>,
    children: Vec<Node>,
}

/// Nests what ipamd lists.
pub(crate) fn tree(list: &ListResponse) -> Tree {
    let mut announced: HashMap<&str, &Announcement> =
        list.announcements.iter().map(|a| (a.prefix.as_str(), a)).collect();
    let mut flat: Vec<(Prefix, u8, Node)> = Vec::new();
    let mut push = |prefix: &str, rank: u8, node: Node| {
        // ipamd sends canonical prefixes; what is none has no place in a tree.
        if let Ok(p) = prefix.parse() {
            flat.push((p, rank, node));
        }
    };
    for a in &list.assignments {
        let from = announced.remove(a.prefix.as_str()).map_or_else(Vec::new, |x| x.sites.clone());
        let (owner, site, description) = (a.owner.clone(), a.site.clone(), a.description.clone());
        let kind = "assignment";
        let node =
            Node { prefix: a.prefix.clone(), kind, owner, site, description, announced_from: from, children: vec![] };
        push(&a.prefix, 2, node);
    }
    for h in &list.holdings {
        let from = announced.remove(h.prefix.as_str()).map_or_else(Vec::new, |x| x.sites.clone());
        push(&h.prefix, 0, node(&h.prefix, "holding", "", &h.source, from));
    }
    for a in announced.into_values() {
        push(&a.prefix, 1, node(&a.prefix, "announcement", &a.owner, "", a.sites.clone()));
    }
    // Outer before inner; of equal prefixes the holding first.
    flat.sort_by_key(|(p, rank, _)| (*p, *rank));
    let mut roots = Vec::new();
    let mut open: Vec<(Prefix, Node)> = Vec::new();
    for (prefix, _, node) in flat {
        while open.last().is_some_and(|(p, _)| !p.covers(&prefix)) {
            close(&mut open, &mut roots);
        }
        open.push((prefix, node));
    }
    while !open.is_empty() {
        close(&mut open, &mut roots);
    }
    Tree { nodes: roots }
}

fn node(prefix: &str, kind: &'static str, owner: &str, description: &str, announced_from: Vec<String>) -> Node {
    let (prefix, owner, description) = (prefix.to_owned(), owner.to_owned(), description.to_owned());
    Node { prefix, kind, owner, site: String::new(), description, announced_from, children: vec![] }
}

fn close(open: &mut Vec<(Prefix, Node)>, roots: &mut Vec<Node>) {
    let Some((_, done)) = open.pop() else { return };
    match open.last_mut() {
        Some((_, parent)) => parent.children.push(done),
        None => roots.push(done),
    }
}

impl Render for Tree {
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()> {
        let mut rows = Vec::new();
        self.nodes.iter().for_each(|n| n.rows(0, &mut rows));
        page.table(&rows)
    }
}

impl Node {
    fn rows<'a>(&'a self, depth: usize, rows: &mut Vec<TreeRow<'a>>) {
        rows.push(TreeRow { depth, node: self });
        self.children.iter().for_each(|c| c.rows(depth + 1, rows));
    }
}

#[derive(Serialize)]
struct TreeRow<'a> {
    depth: usize,
    node: &'a Node,
}

impl Row for TreeRow<'_> {
    const COLUMNS: &'static [&'static str] = &["PREFIX", "KIND", "OWNER", "SITE", "ANNOUNCED FROM", "DESCRIPTION"];
    fn cells(&self) -> Vec<Cell> {
        let n = self.node;
        let tone = if n.kind == "holding" { Tone::Strong } else { Tone::Plain };
        vec![
            Cell::toned(format!("{}{}", "  ".repeat(self.depth), n.prefix), tone),
            n.kind.into(),
            n.owner.as_str().into(),
            n.site.as_str().into(),
            Cell::toned(n.announced_from.join(", "), Tone::Good),
            n.description.as_str().into(),
        ]
    }
}
