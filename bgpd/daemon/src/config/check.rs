//! From the file's shape to a [`Config`]: the speaker, the daemon, and the walls between neighbours.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{Ducts, Multipath, RemoteAddress, SpeakerConfig};
use net_types::{Asn, Prefix, RouterId, bogon_prefix, is_documentation_asn};
use toml::Spanned;

use super::error::Source;
use super::rules::Rule;
use super::{Config, ConfigError, DaemonConfig, FibConfig, IpamConfig, Places, neighbor, schema};

type Result<T> = std::result::Result<T, ConfigError>;
/// Ducts with their interfaces, as the file has them.
type RawDucts = BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>;

/// Most paths used at a time: next-hop groups larger than this are of no use to a router with two fibres a site.
const MULTIPATH_MAX: u16 = 64;

pub(super) fn check(source: Source<'_>, raw: schema::File) -> Result<Config> {
    let schema::File { bgp, daemon, fib, ipam, announce, ducts: raw_ducts, group, neighbor } = raw;
    let fib = FibConfig {
        enabled: fib.enabled.unwrap_or(true),
        rtproto: match fib.rtproto {
            // 0-4 belong to the kernel and to administrators (rtnetlink.h): adopting those would delete a person's routes.
            Some(p) if *p.get_ref() <= 4 => {
                let what = format!("rtproto {} is the kernel's or an administrator's", p.get_ref());
                return Err(source.error(&p.span(), Rule::BadValue, what, "choose one from 5 to 255, such as 220"));
            }
            Some(p) => p.into_inner(),
            None => 220,
        },
        table: match fib.table {
            Some(t) if matches!(t.get_ref(), 0 | 255) => {
                let what = format!("table {} is the kernel's", t.get_ref());
                return Err(source.error(&t.span(), Rule::BadValue, what, "choose another, such as 254 (main)"));
            }
            Some(t) => t.into_inner(),
            None => 254,
        },
        metric: fib.metric.map_or(512, Spanned::into_inner),
        hold_up: match fib.hold_up {
            Some(s) if *s.get_ref() > 60 => {
                let what = format!("a hold-up of {} s keeps a link that works idle", s.get_ref());
                return Err(source.error(&s.span(), Rule::BadValue, what, "choose 0 to 60 seconds, such as 2"));
            }
            Some(s) => Duration::from_secs(s.into_inner().into()),
            None => Duration::from_secs(2),
        },
    };
    let bgp = bgp.into_inner();
    let (listen, listen_lines) = listen(source, &bgp)?;
    let speaker = SpeakerConfig { ducts: ducts(source, raw_ducts)?, ..speaker(source, &bgp, fib.enabled)? };
    let announce = announced(source, &speaker, &announce.prefixes)?;
    let neighbors = neighbors(source, &speaker, &group, neighbor)?;
    Ok(Config {
        speaker,
        neighbors,
        listen,
        daemon: DaemonConfig {
            run_dir: daemon.run_dir.unwrap_or_else(|| "/run/artere/bgpd".into()).into(),
            state_dir: daemon.state_dir.unwrap_or_else(|| "/var/lib/artere/bgpd".into()).into(),
            log: daemon.log.unwrap_or_else(|| "info".into()),
            hostname: daemon.hostname,
        },
        fib,
        ipam: ipam.map(|i| ipam_config(source, i.into_inner())).transpose()?,
        announce,
        places: Places { file: source.file.to_path_buf(), listen: listen_lines },
    })
}

fn speaker(source: Source<'_>, bgp: &schema::Bgp, fib_enabled: bool) -> Result<SpeakerConfig> {
    let local_as = asn(source, &bgp.local_as, bgp.lab)?;
    let router_id = |s: &Spanned<String>| -> Result<RouterId> {
        let id: RouterId = text(source, s, Rule::BadAddress, "write a router id as a dotted quad, such as 192.0.2.1")?;
        if id.to_u32() == 0 {
            let cure = "give the router's own IPv4 address or any unique quad (RFC 6286)";
            return Err(source.error(&s.span(), Rule::BadAddress, "router id 0.0.0.0", cure));
        }
        Ok(id)
    };
    let mut own_prefixes = prefixes(source, &bgp.own_prefixes)?;
    for (prefix, place) in own_prefixes.iter().zip(&bgp.own_prefixes) {
        if prefix.is_default() {
            let cure = "list the prefixes that the registry gave you";
            return Err(source.error(&place.span(), Rule::OwnBogon, format!("{prefix} cannot be ours"), cure));
        }
        if let Some(bogon) = bogon_prefix(prefix, bgp.lab) {
            let what = format!("own prefix {prefix} is {} space ({})", bogon.what, bogon.source);
            let cure = match bogon_prefix(prefix, true) {
                None => "use the registry's prefixes, or set bgp.lab = true in a lab",
                Some(_) => "use the registry's prefixes; what only lives inside goes to bgp.internal_prefixes",
            };
            return Err(source.error(&place.span(), Rule::OwnBogon, what, cure));
        }
    }
    let mut internal_prefixes = prefixes(source, &bgp.internal_prefixes)?;
    own_prefixes.sort();
    own_prefixes.dedup();
    internal_prefixes.sort();
    internal_prefixes.dedup();
    let selection_deferral = Duration::from_secs(bgp.selection_deferral.as_ref().map_or(60, |s| *s.get_ref()).into());
    Ok(SpeakerConfig {
        local_as,
        router_id: router_id(&bgp.router_id)?,
        lab: bgp.lab,
        own_prefixes,
        internal_prefixes,
        cluster_id: bgp.cluster_id.as_ref().map(router_id).transpose()?,
        selection_deferral,
        // Both wait for the same: all neighbours' tables.
        max_med_on_startup: bgp.max_med_on_startup.as_ref().map_or(Ok(selection_deferral), |s| max_med(source, s))?,
        wait_for_fib: fib_enabled && bgp.wait_for_fib.unwrap_or(true),
        ducts: Ducts::default(),
        multipath: bgp.multipath.as_ref().map(|m| multipath(source, m)).transpose()?.unwrap_or_default(),
    })
}

/// Longer than any table takes; what is meant for ever is no startup.
const MAX_MED_MOST: u32 = 86_400;

fn max_med(source: Source<'_>, seconds: &Spanned<u32>) -> Result<Duration> {
    let n = *seconds.get_ref();
    if n > MAX_MED_MOST {
        let what = format!("max_med_on_startup is {n}");
        let cure = format!("write 0 (off) to {MAX_MED_MOST} seconds");
        return Err(source.error(&seconds.span(), Rule::BadValue, what, cure));
    }
    Ok(Duration::from_secs(n.into()))
}

fn multipath(source: Source<'_>, raw: &schema::Multipath) -> Result<Multipath> {
    let most = |key: &schema::Key<u16>, name: &str| match key {
        None => Ok(NonZeroU16::MIN),
        Some(n) => NonZeroU16::new(*n.get_ref()).filter(|n| n.get() <= MULTIPATH_MAX).ok_or_else(|| {
            let what = format!("multipath.{name} is {}", n.get_ref());
            source.error(&n.span(), Rule::BadValue, what, format!("write 1 (off) to {MULTIPATH_MAX}"))
        }),
    };
    Ok(Multipath {
        ebgp: most(&raw.ebgp, "ebgp")?,
        ibgp: most(&raw.ibgp, "ibgp")?,
        relax_as_path: raw.relax_as_path,
        link_bandwidth: raw.link_bandwidth,
    })
}

/// Longest name of an interface: IFNAMSIZ with its end.
const INTERFACE_MAX: usize = 15;

fn ducts(source: Source<'_>, raw: RawDucts) -> Result<Ducts> {
    let mut ducts = Ducts::default();
    // In the file's order, so that the second place of a name is the one that is refused.
    let mut in_order: Vec<_> = raw.into_iter().collect();
    in_order.sort_by_key(|(name, _)| name.span().start);
    for (duct, interfaces) in in_order {
        if duct.get_ref().trim().is_empty() {
            return Err(source.error(
                &duct.span(),
                Rule::Ducts,
                "a duct without a name",
                "name it as the digger would",
            ));
        }
        if interfaces.get_ref().is_empty() {
            let what = format!("no interface runs through duct {:?}", duct.get_ref());
            return Err(source.error(&interfaces.span(), Rule::Ducts, what, "name its interfaces, or remove the line"));
        }
        for interface in interfaces.into_inner() {
            let (name, place) = (interface.get_ref().clone(), interface.span());
            if name.is_empty() || name.len() > INTERFACE_MAX || name.contains(|c: char| c == '/' || c.is_whitespace()) {
                let what = format!("{name:?} is no name of an interface");
                return Err(source.error(&place, Rule::Ducts, what, "write it as `ip link` shows it"));
            }
            if let Some(other) = ducts.insert(name.clone(), duct.get_ref().clone()) {
                let what = format!("interface {name:?} stands in duct {other:?} already");
                return Err(source.error(&place, Rule::Ducts, what, "an interface is in one duct: remove one"));
            }
        }
    }
    Ok(ducts)
}

fn listen(source: Source<'_>, bgp: &schema::Bgp) -> Result<(Vec<SocketAddr>, Vec<usize>)> {
    let port = match &bgp.port {
        Some(p) if *p.get_ref() == 0 => {
            return Err(source.error(&p.span(), Rule::BadValue, "port 0", "write 179, or another from 1 to 65535"));
        }
        Some(p) => *p.get_ref(),
        None => 179,
    };
    let (mut addresses, mut lines) = (Vec::new(), Vec::new());
    for place in &bgp.listen {
        let ip: IpAddr = text(source, place, Rule::BadAddress, "write an address of ours, or 0.0.0.0 and ::")?;
        let address = SocketAddr::new(ip, port);
        if ip.is_multicast() {
            return Err(source.error(
                &place.span(),
                Rule::BadAddress,
                format!("{ip} is multicast"),
                "name our own address",
            ));
        }
        if addresses.contains(&address) {
            return Err(source.error(&place.span(), Rule::Listen, format!("{ip} stands twice"), "remove one"));
        }
        addresses.push(address);
        lines.push(source.line(place.span().start));
    }
    Ok((addresses, lines))
}

fn announced(source: Source<'_>, speaker: &SpeakerConfig, places: &[Spanned<String>]) -> Result<Vec<Prefix>> {
    let mut announce = prefixes(source, places)?;
    for (prefix, place) in announce.iter().zip(places) {
        if !speaker.own_prefixes.iter().any(|own| own.covers(prefix)) {
            let what = format!("{prefix} is not within bgp.own_prefixes");
            let cure = "announce only own space, or add its holding to bgp.own_prefixes";
            return Err(source.error(&place.span(), Rule::AnnounceNotOwn, what, cure));
        }
    }
    announce.sort();
    announce.dedup();
    Ok(announce)
}

fn ipam_config(source: Source<'_>, ipam: schema::Ipam) -> Result<IpamConfig> {
    const CURE: &str = "write unix:/run/artere/ipamd/ipamd.sock or http://[2001:db8::53]:50071";
    if ipam.site.get_ref().is_empty() {
        return Err(source.error(&ipam.site.span(), Rule::BadValue, "empty site", "name this site as ipamd knows it"));
    }
    let whole = ipam.endpoints.span();
    let endpoints = ipam.endpoints.into_inner();
    if endpoints.is_empty() {
        return Err(source.error(&whole, Rule::Endpoint, "no endpoint", CURE));
    }
    for e in &endpoints {
        let address = e.get_ref();
        let good = match (address.strip_prefix("unix:"), address.strip_prefix("http://")) {
            (Some(path), _) => path.starts_with('/'),
            (_, Some(host)) => host.parse::<SocketAddr>().is_ok(),
            _ => false,
        };
        if !good {
            return Err(source.error(&e.span(), Rule::Endpoint, format!("{address:?} is no ipamd endpoint"), CURE));
        }
    }
    let endpoints = endpoints.into_iter().map(Spanned::into_inner).collect();
    Ok(IpamConfig { site: ipam.site.into_inner(), endpoints })
}

fn neighbors(
    source: Source<'_>,
    speaker: &SpeakerConfig,
    groups: &[Spanned<schema::Neighbor>],
    raw: Vec<Spanned<schema::Neighbor>>,
) -> Result<BTreeMap<String, Arc<bgp_core::config::NeighborConfig>>> {
    let mut by_name: BTreeMap<&str, &schema::Neighbor> = BTreeMap::new();
    for g in groups {
        let name = neighbor::name(source, g.get_ref(), &g.span())?;
        if let Some(nested) = &g.get_ref().group {
            let cure = "give the group its keys itself";
            return Err(source.error(&nested.span(), Rule::UnknownGroup, "a group cannot be in a group", cure));
        }
        if by_name.insert(name.get_ref(), g.get_ref()).is_some() {
            let what = format!("group {:?} stands twice", name.get_ref());
            return Err(source.error(&name.span(), Rule::DuplicateGroup, what, "merge the two, or rename one"));
        }
    }
    let mut found = BTreeMap::new();
    let mut lines: Vec<(RemoteAddress, Option<String>, usize)> = Vec::new();
    for n in raw {
        let span = n.span();
        let n = n.into_inner();
        let name = neighbor::name(source, &n, &span)?.clone();
        let place = n.address.as_ref().or(n.range.as_ref()).map_or(span.clone(), Spanned::span);
        let n = match &n.group {
            None => n,
            Some(g) => match by_name.get(g.get_ref().as_str()) {
                Some(group) => n.or(group),
                None => {
                    let what = format!("there is no group {:?}", g.get_ref());
                    let cure = match by_name.keys().next() {
                        None => "add a [[group]] of that name".into(),
                        Some(_) => format!("groups: {}", by_name.keys().copied().collect::<Vec<_>>().join(", ")),
                    };
                    return Err(source.error(&g.span(), Rule::UnknownGroup, what, cure));
                }
            },
        };
        let config = neighbor::resolve(source, speaker, &n, &span)?;
        let key = (config.remote, config.interface.clone());
        if let Some((.., line)) = lines.iter().find(|(r, i, _)| (r, i) == (&key.0, &key.1)) {
            let what = format!("the address of neighbour {:?} is already taken by line {line}", config.name);
            return Err(source.error(
                &place,
                Rule::DuplicateName,
                what,
                "one neighbour an address: remove or merge one",
            ));
        }
        lines.push((key.0, key.1, source.line(place.start)));
        match found.entry(config.name.clone()) {
            Entry::Occupied(_) => {
                let what = format!("neighbour {:?} stands twice", config.name);
                return Err(source.error(&name.span(), Rule::DuplicateName, what, "rename or remove one"));
            }
            Entry::Vacant(v) => v.insert(Arc::new(config)),
        };
    }
    Ok(found)
}

/// Reads a value from its text.
pub(super) fn text<T>(source: Source<'_>, s: &Spanned<String>, rule: Rule, cure: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    s.get_ref().parse().map_err(|e: T::Err| source.error(&s.span(), rule, format!("{:?}: {e}", s.get_ref()), cure))
}

/// Reads prefixes; host bits are refused.
pub(super) fn prefixes(source: Source<'_>, list: &[Spanned<String>]) -> Result<Vec<Prefix>> {
    let read = |s: &Spanned<String>| {
        Prefix::parse_strict(s.get_ref()).map_err(|e| {
            let cure = match &e {
                net_types::PrefixError::HostBits(_, meant) => format!("write {meant}"),
                _ => "write a network and its length".to_owned(),
            };
            // The reader's text ends in its own advice after a colon where it has one: ours replaces it.
            let what = e.to_string();
            let what = what.split(": ").next().unwrap_or_default().to_owned();
            source.error(&s.span(), Rule::BadPrefix, what, cure)
        })
    };
    list.iter().map(read).collect()
}

/// Reads an AS number that a speaker may have.
pub(super) fn asn(source: Source<'_>, s: &Spanned<schema::Asn>, lab: bool) -> Result<Asn> {
    let span: Range<usize> = s.span();
    let asn = match s.get_ref() {
        schema::Asn::Number(n) => Asn(*n),
        schema::Asn::Text(t) => t.parse().map_err(|_| {
            let what = format!("{t:?} is not an AS number");
            source.error(&span, Rule::AsNumber, what, "write 64500, \"AS64500\" or \"1.5\"")
        })?,
    };
    if matches!(asn.0, 0 | 23456 | 65535 | u32::MAX) {
        let cure = "give the AS number that the registry assigned";
        return Err(source.error(&span, Rule::AsNumber, format!("AS {asn} is reserved"), cure));
    }
    if is_documentation_asn(asn) && !lab {
        let what = format!("AS {asn} is for documentation (RFC 5398)");
        return Err(source.error(&span, Rule::AsNumber, what, "use the real number, or set bgp.lab = true in a lab"));
    }
    Ok(asn)
}
