//! One neighbour: every default resolved by its relationship, every contradiction refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bgp_core::config::{
    AddPath, MaxPrefix, NeighborConfig, PolicyMode, Relation, RemoteAddress, Secret, SendPaths, SpeakerConfig,
};
use bgp_wire::Role;
use net_types::{Asn, Family, Prefix};
use toml::Spanned;

use super::check::{asn, prefixes, text};
use super::error::Source;
use super::rules::Rule;
use super::schema::{self, Key};
use super::{ConfigError, bfd};

type Result<T> = std::result::Result<T, ConfigError>;

/// Longest key the kernel takes (TCP_MD5SIG_MAXKEYLEN).
const MD5_MAX: usize = 80;
/// Restart Time is a field of 12 bits (RFC 4724 §3).
const GR_RESTART_MAX: u16 = 4095;
/// Half of the 4 minutes that a neighbour in OpenSent waits for our OPEN (RFC 4271 §8.2.2).
const DELAY_OPEN_MAX: u16 = 120;

const RELATIONS: &[(&str, Relation)] = &[
    ("transit", Relation::Transit),
    ("peer", Relation::Peer),
    ("route-server", Relation::RouteServer),
    ("rs-client", Relation::RsClient),
    ("customer", Relation::Customer),
    ("internal", Relation::Internal),
    ("rr-client", Relation::RrClient),
    ("collector", Relation::Collector),
];
const POLICIES: &[(&str, PolicyMode)] =
    &[("relationship", PolicyMode::Relationship), ("accept-all", PolicyMode::AcceptAll), ("deny", PolicyMode::Deny)];
const ROLES: &[(&str, Role)] = &[
    ("provider", Role::Provider),
    ("route-server", Role::RouteServer),
    ("route-server-client", Role::RouteServerClient),
    ("customer", Role::Customer),
    ("peer", Role::Peer),
];

/// The name of a neighbour or group.
pub(super) fn name<'a>(
    source: Source<'_>,
    raw: &'a schema::Neighbor,
    span: &Range<usize>,
) -> Result<&'a Spanned<String>> {
    let name = raw
        .name
        .as_ref()
        .ok_or_else(|| source.error(span, Rule::MissingKey, "`name` is missing", "add a unique `name = \"…\"` here"))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    // Names stand in file names, metrics and command lines; an address could not be told from a name there.
    if name.get_ref().is_empty() || !name.get_ref().chars().all(fits) || name.get_ref().parse::<IpAddr>().is_ok() {
        let what = format!("{:?} cannot be a name", name.get_ref());
        let cure = "use letters, digits, '-', '_' and '.', and no address";
        return Err(source.error(&name.span(), Rule::BadValue, what, cure));
    }
    Ok(name)
}

/// All of a neighbour; `span` is its table's place, for what is missing.
pub(super) fn resolve(
    source: Source<'_>,
    speaker: &SpeakerConfig,
    raw: &schema::Neighbor,
    span: &Range<usize>,
) -> Result<NeighborConfig> {
    let name = name(source, raw, span)?.get_ref().clone();
    let place = |at: Option<Range<usize>>| at.unwrap_or_else(|| span.clone());
    let missing = |key: &str| {
        let what = format!("neighbour {name:?} has no `{key}`");
        source.error(span, Rule::MissingKey, what, format!("add `{key} = …` here or in its group"))
    };
    let remote = remote(source, raw, span, &name)?;
    let remote_as_key = raw.remote_as.as_ref().ok_or_else(|| missing("remote_as"))?;
    let remote_as = asn(source, remote_as_key, speaker.lab)?;
    let relation_key = raw.relation.as_ref().ok_or_else(|| missing("relation"))?;
    let relation = word(source, relation_key, "relation", RELATIONS)?;
    relation_as(source, speaker, relation, remote_as, &relation_key.span())?;
    let external = !relation.is_internal();

    let hold_time = value(&raw.hold_time, 90);
    if matches!(hold_time, 1 | 2) {
        let at = place(raw.hold_time.as_ref().map(Spanned::span));
        let what = format!("hold_time of {hold_time} s");
        return Err(source.error(&at, Rule::HoldTime, what, "write 0 (off) or at least 3 (RFC 4271 §4.2)"));
    }
    let send_hold_time = send_hold_time(source, raw, hold_time)?;
    let role = match &raw.role {
        None => None,
        Some(r) if !external => {
            let cure = "remove it: roles are between autonomous systems";
            return Err(source.error(&r.span(), Rule::RoleInternal, "role on an iBGP session", cure));
        }
        Some(r) => Some(word(source, r, "role", ROLES)?),
    };
    if let (Some(m), false) = (&raw.multihop, external) {
        let cure = "remove it: iBGP sessions are never held to one hop";
        return Err(source.error(&m.span(), Rule::InternalMultihop, "multihop on an iBGP session", cure));
    }
    if let Some(m) = raw.multihop.as_ref().filter(|m| *m.get_ref() == 0) {
        return Err(source.error(&m.span(), Rule::BadValue, "multihop of 0 hops", "write 1 to 255"));
    }
    let enforce_first_as = match &raw.enforce_first_as {
        Some(e) if *e.get_ref() && relation == Relation::RouteServer => {
            let cure = "remove enforce_first_as from this neighbour";
            return Err(source.error(&e.span(), Rule::RouteServer, "a route server's AS is not in the path", cure));
        }
        Some(e) => *e.get_ref(),
        None => external && relation != Relation::RouteServer,
    };
    let gr_restart_time = value(&raw.gr_restart_time, 120);
    if gr_restart_time > GR_RESTART_MAX {
        let at = place(raw.gr_restart_time.as_ref().map(Spanned::span));
        let what = format!("gr_restart_time of {gr_restart_time} s does not fit 12 bits");
        return Err(source.error(&at, Rule::BadValue, what, "write 0 to 4095 (RFC 4724 §3)"));
    }
    let allowed_prefixes = allowed(source, raw, relation, span, &name)?;
    let origins = raw.allowed_origins.as_ref().map_or(&[][..], |o| o.get_ref());
    let mut allowed_origins = origins.iter().map(|a| asn(source, a, speaker.lab)).collect::<Result<Vec<Asn>>>()?;
    allowed_origins.sort();
    allowed_origins.dedup();
    let connect_retry_time = value(&raw.connect_retry_time, 30);
    if connect_retry_time == 0 {
        let at = place(raw.connect_retry_time.as_ref().map(Spanned::span));
        return Err(source.error(&at, Rule::BadValue, "connect_retry_time of 0 s", "write at least 1"));
    }
    let delay_open = value(&raw.delay_open, 0);
    if delay_open > DELAY_OPEN_MAX {
        let at = place(raw.delay_open.as_ref().map(Spanned::span));
        let what = format!("delay_open of {delay_open} s: the neighbour would give up before");
        return Err(source.error(&at, Rule::BadValue, what, "write 0 (off) to 120"));
    }
    let port = value(&raw.port, 179);
    if port == 0 {
        let at = place(raw.port.as_ref().map(Spanned::span));
        return Err(source.error(&at, Rule::BadValue, "port 0", "write 179, or another from 1 to 65535"));
    }
    Ok(NeighborConfig {
        description: raw.description.as_ref().map_or_else(String::new, |d| d.get_ref().clone()),
        remote,
        port,
        local_address: local_address(source, raw, remote)?,
        interface: raw.interface.as_ref().map(|i| i.get_ref().clone()),
        remote_as,
        relation,
        families: families(source, raw)?,
        policy: raw.policy.as_ref().map_or(Ok(PolicyMode::Relationship), |p| word(source, p, "policy", POLICIES))?,
        passive: value(&raw.passive, matches!(remote, RemoteAddress::Range(_))),
        enabled: value(&raw.enabled, true),
        hold_time,
        send_hold_time,
        connect_retry_time: Duration::from_secs(connect_retry_time.into()),
        delay_open: Duration::from_secs(delay_open.into()),
        md5: md5(source, raw)?,
        ttl_security: value(&raw.ttl_security, false),
        multihop: raw.multihop.as_ref().map(|m| *m.get_ref()),
        role,
        role_strict: value(&raw.role_strict, false),
        enforce_first_as,
        extended_message: value(&raw.extended_message, true),
        extended_next_hop: value(&raw.extended_next_hop, false),
        enhanced_refresh: value(&raw.enhanced_refresh, true),
        add_path: add_path(source, raw)?,
        gr_helper: value(&raw.gr_helper, true),
        gr_restart_time,
        max_prefix: max_prefix(source, raw, relation)?,
        next_hop_self: value(&raw.next_hop_self, false),
        allow_own_as: value(&raw.allow_own_as, 0),
        allowed_prefixes,
        allowed_origins,
        local_pref: raw.local_pref.as_ref().map(|l| *l.get_ref()),
        max_as_path: usize::from(value(&raw.max_as_path, 64)),
        export: value(&raw.export, true),
        prepend: value(&raw.prepend, 0),
        graceful_shutdown: value(&raw.graceful_shutdown, true),
        drain: value(&raw.drain, false),
        bfd: bfd::bfd(source, raw)?,
        name,
    })
}

fn value<T: Copy>(key: &Key<T>, default: T) -> T {
    key.as_ref().map_or(default, |k| *k.get_ref())
}

/// One of some words.
pub(super) fn word<T: Copy>(source: Source<'_>, s: &Spanned<String>, key: &str, words: &[(&str, T)]) -> Result<T> {
    words.iter().find(|(w, _)| w == s.get_ref()).map(|(_, v)| *v).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        let what = format!("{key} {:?} is unknown", s.get_ref());
        source.error(&s.span(), Rule::BadValue, what, format!("one of {}", known.join(", ")))
    })
}

fn remote(source: Source<'_>, raw: &schema::Neighbor, span: &Range<usize>, name: &str) -> Result<RemoteAddress> {
    match (&raw.address, &raw.range) {
        (None, None) => {
            let what = format!("neighbour {name:?} has neither `address` nor `range`");
            Err(source.error(span, Rule::AddressOrRange, what, "add `address = \"…\"` here"))
        }
        (Some(_), Some(r)) => {
            let what = format!("neighbour {name:?} has both `address` and `range`");
            Err(source.error(&r.span(), Rule::AddressOrRange, what, "keep one of the two"))
        }
        (None, Some(r)) => {
            let range = prefixes(source, std::slice::from_ref(r))?;
            if let Some(p) = raw.passive.as_ref().filter(|p| !*p.get_ref()) {
                let cure = "remove `passive`, or give an address";
                return Err(source.error(&p.span(), Rule::AddressOrRange, "a range cannot be connected to", cure));
            }
            let first = range.first().copied().unwrap_or(Prefix::V4(0, 0));
            Ok(RemoteAddress::Range(first))
        }
        (Some(a), None) => {
            let ip: IpAddr = text(source, a, Rule::BadAddress, "write the neighbour's address, such as 192.0.2.1")?;
            if ip.is_multicast() || ip.is_unspecified() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
                let what = format!("{ip} is no unicast address");
                return Err(source.error(&a.span(), Rule::BadAddress, what, "write the neighbour's own address"));
            }
            let link_local = matches!(ip, IpAddr::V6(v6) if is_link_local(v6));
            if link_local && raw.interface.is_none() {
                let cure = "add `interface = \"eth1\"`";
                return Err(source.error(&a.span(), Rule::LinkLocal, format!("{ip} is link-local"), cure));
            }
            Ok(RemoteAddress::Fixed(ip))
        }
    }
}

fn is_link_local(a: Ipv6Addr) -> bool {
    a.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80)
}

fn relation_as(source: Source<'_>, ours: &SpeakerConfig, r: Relation, theirs: Asn, at: &Range<usize>) -> Result<()> {
    let (what, cure) = match (r.is_internal(), theirs == ours.local_as) {
        (true, false) => (
            format!("relation {r} with AS {theirs}, which is not ours ({})", ours.local_as),
            "correct remote_as, or choose an external relation",
        ),
        (false, true) => {
            (format!("relation {r} with our own AS {theirs}"), "correct remote_as, or write internal or rr-client")
        }
        _ => return Ok(()),
    };
    Err(source.error(at, Rule::RelationAs, what, cure))
}

fn send_hold_time(source: Source<'_>, raw: &schema::Neighbor, hold_time: u16) -> Result<Duration> {
    // RFC 9687 §4: the greater of 8 minutes and twice the HoldTime.
    let Some(key) = &raw.send_hold_time else { return Ok(Duration::from_secs(480.max(2 * u64::from(hold_time)))) };
    let seconds = *key.get_ref();
    if seconds != 0 && seconds <= u32::from(hold_time) {
        let what = format!("send_hold_time {seconds} s does not exceed hold_time {hold_time} s");
        let cure = "write more than hold_time, or 0 for off (RFC 9687 §4)";
        return Err(source.error(&key.span(), Rule::HoldTime, what, cure));
    }
    Ok(Duration::from_secs(seconds.into()))
}

fn local_address(source: Source<'_>, raw: &schema::Neighbor, remote: RemoteAddress) -> Result<Option<IpAddr>> {
    let Some(key) = &raw.local_address else { return Ok(None) };
    let ip: IpAddr = text(source, key, Rule::BadAddress, "write an address of ours")?;
    let is_v4 = match remote {
        RemoteAddress::Fixed(a) => a.is_ipv4(),
        RemoteAddress::Range(p) => p.is_v4(),
    };
    if ip.is_ipv4() != is_v4 {
        let what = format!("local_address {ip} is of another family than the neighbour's");
        return Err(source.error(&key.span(), Rule::AddressFamily, what, "give one of the same family"));
    }
    Ok(Some(ip))
}

fn families(source: Source<'_>, raw: &schema::Neighbor) -> Result<Vec<Family>> {
    let Some(list) = &raw.families else { return Ok(Family::SUPPORTED.to_vec()) };
    let mut found = Vec::new();
    for s in list.get_ref() {
        let family: Family = text(source, s, Rule::Families, "one of ipv4-unicast, ipv6-unicast")?;
        if found.contains(&family) {
            return Err(source.error(&s.span(), Rule::Families, format!("{family} stands twice"), "remove one"));
        }
        found.push(family);
    }
    if found.is_empty() {
        let cure = "name ipv4-unicast or ipv6-unicast, or remove the key for both";
        return Err(source.error(&list.span(), Rule::Families, "no family", cure));
    }
    found.sort();
    Ok(found)
}

fn allowed(
    source: Source<'_>,
    raw: &schema::Neighbor,
    relation: Relation,
    span: &Range<usize>,
    name: &str,
) -> Result<Vec<Prefix>> {
    let mut list = match &raw.allowed_prefixes {
        Some(p) if relation != Relation::Customer && !p.get_ref().is_empty() => {
            let what = format!("allowed_prefixes on a neighbour of relation {relation}");
            return Err(source.error(&p.span(), Rule::CustomerPrefixes, what, "remove it: it is for customers"));
        }
        Some(p) => prefixes(source, p.get_ref())?,
        None => Vec::new(),
    };
    if relation == Relation::Customer && list.is_empty() {
        let at = raw.allowed_prefixes.as_ref().map_or_else(|| span.clone(), Spanned::span);
        let what = format!("customer {name:?} has no allowed_prefixes");
        return Err(source.error(&at, Rule::CustomerPrefixes, what, "list what it may announce"));
    }
    list.sort();
    list.dedup();
    Ok(list)
}

/// What a neighbour of this relationship may send at most, where the file does not say: near what the Internet holds
/// for those who may send it all, far below for the others. iBGP has none: those routes passed a limit at the border.
fn default_limits(relation: Relation) -> Option<(u32, u32)> {
    match relation {
        Relation::Transit => Some((2_000_000, 600_000)),
        Relation::Peer | Relation::RouteServer | Relation::RsClient => Some((500_000, 200_000)),
        Relation::Customer => Some((50_000, 20_000)),
        Relation::Collector => Some((100, 100)),
        Relation::Internal | Relation::RrClient => None,
    }
}

fn max_prefix(source: Source<'_>, raw: &schema::Neighbor, relation: Relation) -> Result<BTreeMap<Family, MaxPrefix>> {
    let mut limits = BTreeMap::new();
    if let Some((v4, v6)) = default_limits(relation) {
        let restart = Some(Duration::from_secs(1800));
        limits.insert(Family::IPV4_UNICAST, MaxPrefix { limit: v4, restart });
        limits.insert(Family::IPV6_UNICAST, MaxPrefix { limit: v6, restart });
    }
    if let Some(given) = raw.max_prefix.as_ref().map(Spanned::get_ref) {
        let both = [(Family::IPV4_UNICAST, &given.ipv4), (Family::IPV6_UNICAST, &given.ipv6)];
        for (family, limit) in both.into_iter().filter_map(|(f, l)| l.as_ref().map(|l| (f, l))) {
            if *limit.limit.get_ref() == 0 {
                let cure = "leave the family out of `families` instead";
                return Err(source.error(&limit.limit.span(), Rule::BadValue, "limit of 0 prefixes", cure));
            }
            let restart = limit.restart.map(|s| Duration::from_secs(s.into()));
            limits.insert(family, MaxPrefix { limit: *limit.limit.get_ref(), restart });
        }
    }
    Ok(limits)
}

fn add_path(source: Source<'_>, raw: &schema::Neighbor) -> Result<AddPath> {
    let Some(given) = raw.add_path.as_ref().map(Spanned::get_ref) else { return Ok(AddPath::default()) };
    let send = match given.send.as_ref().map(|s| (s.get_ref(), s.span())) {
        None => SendPaths::Best,
        Some((schema::Paths::Text(all), _)) if all == "all" => SendPaths::All,
        Some((paths, span)) => {
            let number = match paths {
                schema::Paths::Number(n) => NonZeroU16::new(*n).ok_or("0".to_owned()),
                schema::Paths::Text(text) => Err(format!("{text:?}")),
            };
            SendPaths::Most(number.map_err(|what| {
                let cure = "write \"all\", a number from 1, or leave `send` out";
                source.error(&span, Rule::BadValue, format!("add_path.send is {what}"), cure)
            })?)
        }
    };
    Ok(AddPath { receive: given.receive, send })
}

fn md5(source: Source<'_>, raw: &schema::Neighbor) -> Result<Option<Secret>> {
    let (key, span) = match (&raw.md5, &raw.md5_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(f)) => {
            return Err(source.error(&f.span(), Rule::SecretSource, "both md5 and md5_file", "keep md5_file"));
        }
        (Some(k), None) => (k.get_ref().0.clone(), k.span()),
        (None, Some(f)) => (secret_file(source, f)?, f.span()),
    };
    if key.is_empty() || key.len() > MD5_MAX {
        let what = format!("an MD5 key of {} octets", key.len());
        return Err(source.error(&span, Rule::SecretSource, what, "give one of 1 to 80 octets"));
    }
    Ok(Some(Secret(key)))
}

/// The text of a file that not everyone can read.
pub(super) fn secret_file(source: Source<'_>, f: &Spanned<String>) -> Result<String> {
    let path = source.file.parent().unwrap_or(std::path::Path::new("")).join(f.get_ref());
    let refuse = |what: String, cure: &str| source.error(&f.span(), Rule::SecretFile, what, cure);
    let meta = std::fs::metadata(&path)
        .map_err(|e| refuse(format!("{}: {e}", path.display()), "create it, mode 0600, owned by bgpd's user"))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let what = format!("{} can be read by everyone (mode {mode:04o})", path.display());
        return Err(refuse(what, &format!("chmod 0600 {}", path.display())));
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|e| refuse(format!("{}: {e}", path.display()), "let bgpd's user read it"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
