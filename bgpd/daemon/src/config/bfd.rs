//! The `bfd` key of a neighbour or group.

use std::time::Duration;

use bgp_core::config::{BfdAuthentication, BfdAuthenticationKind, BfdConfig, Secret};

use super::ConfigError;
use super::error::Source;
use super::neighbor::{secret_file, word};
use super::rules::Rule;
use super::schema;

/// RFC 5880 §6.7.4: a key has at most 20 octets.
const KEY_MAX: usize = 20;
/// Below it a packet would be due before the last one is out; the packet's field goes on to 71 minutes.
const INTERVALS: std::ops::RangeInclusive<u32> = 5..=60_000;
const KINDS: &[(&str, BfdAuthenticationKind)] =
    &[("sha1", BfdAuthenticationKind::KeyedSha1), ("meticulous-sha1", BfdAuthenticationKind::MeticulousKeyedSha1)];

/// All of it, or `None` where the key is absent.
pub(super) fn bfd(source: Source<'_>, raw: &schema::Neighbor) -> Result<Option<BfdConfig>, ConfigError> {
    let Some(given) = raw.bfd.as_ref().map(toml::Spanned::get_ref) else { return Ok(None) };
    let interval = given.interval.as_ref().map_or(300, |i| *i.get_ref());
    if let Some(at) = given.interval.as_ref().filter(|i| !INTERVALS.contains(i.get_ref())) {
        let what = format!("bfd.interval of {interval} ms");
        return Err(source.error(&at.span(), Rule::BadValue, what, "write 5 to 60000 (milliseconds)"));
    }
    if let Some(at) = given.multiplier.as_ref().filter(|m| *m.get_ref() == 0) {
        let cure = "write 1 to 255 (RFC 5880 §6.8.1)";
        return Err(source.error(&at.span(), Rule::BadValue, "bfd.multiplier of 0", cure));
    }
    Ok(Some(BfdConfig {
        interval: Duration::from_millis(interval.into()),
        multiplier: given.multiplier.as_ref().map_or(3, |m| *m.get_ref()),
        strict: given.strict,
        passive: given.passive,
        multihop: given.multihop.unwrap_or(raw.multihop.is_some()),
        authentication: authentication(source, given)?,
    }))
}

fn authentication(source: Source<'_>, given: &schema::Bfd) -> Result<Option<BfdAuthentication>, ConfigError> {
    match (&given.auth, &given.auth_key_id, &given.auth_key_file) {
        (None, None, None) => Ok(None),
        (Some(kind), Some(key_id), Some(file)) => {
            let kind = word(source, kind, "bfd.auth", KINDS)?;
            let key = secret_file(source, file)?;
            if key.is_empty() || key.len() > KEY_MAX {
                let what = format!("a BFD key of {} octets", key.len());
                return Err(source.error(&file.span(), Rule::BadValue, what, "give one of 1 to 20 octets"));
            }
            Ok(Some(BfdAuthentication { kind, key_id: *key_id.get_ref(), key: Secret(key) }))
        }
        (kind, key_id, file) => {
            let spans = [kind.as_ref().map(toml::Spanned::span), key_id.as_ref().map(toml::Spanned::span)];
            let at = spans.into_iter().flatten().next().or(file.as_ref().map(toml::Spanned::span)).unwrap_or_default();
            let cure = "give all three of auth, auth_key_id and auth_key_file, or none";
            Err(source.error(&at, Rule::MissingKey, "bfd authentication is incomplete", cure))
        }
    }
}
