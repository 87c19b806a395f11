//! The commands that speak to ipamd.

use crate::args::{Announce, Family, Holding as HoldingVerb, Ip, Particulars, Site as SiteVerb, Withdraw};
use crate::failure::Failure;
use crate::ip_tables::{FreeBlock, tree};
use crate::output::Output;
use api::ipam::ipam_client::IpamClient;
use api::ipam::*;
use daemonbase::grpc::{Address, connect};
use net_types::Prefix;
use std::time::Duration;
use tonic::Request;
use tonic::transport::Channel;

async fn client(at: &Address) -> Result<IpamClient<Channel>, Failure> {
    Ok(IpamClient::new(connect("ipamd", at).await?).max_decoding_message_size(usize::MAX))
}

/// An answer is there within this, or the daemon is as good as away.
fn soon<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(20));
    request
}

/// `noc ip`.
pub(crate) async fn ip(at: &Address, what: Ip, out: &mut Output) -> Result<(), Failure> {
    let mut ipam = client(at).await?;
    match what {
        Ip::Add { prefix, what: Particulars { owner, site, description, key } } => {
            let prefix = prefix.to_string();
            let request = AddAssignmentRequest { prefix, owner, site, description, request_id: key };
            out.one(&ipam.add_assignment(soon(request)).await?.into_inner())
        }
        Ip::Alloc { length, family, within, what: Particulars { owner, site, description, key } } => {
            let family = match family {
                None => String::new(),
                Some(Family::Ipv4) => "ipv4".to_owned(),
                Some(Family::Ipv6) => "ipv6".to_owned(),
            };
            let (length, within) = (length.into(), text(within));
            let request = AllocateRequest { length, within, family, owner, site, description, request_id: key };
            out.one(&ipam.allocate(soon(request)).await?.into_inner())
        }
        Ip::Release { prefix, owner } => {
            let request = ReleaseRequest { prefix: prefix.to_string(), owner };
            out.one(&ipam.release(soon(request)).await?.into_inner())
        }
        Ip::Show { prefix } => {
            let list = ipam.list(soon(ListRequest { within: text(prefix) })).await?.into_inner();
            out.one(&list)?;
            match prefix {
                Some(p) if list.holdings.is_empty() => Err(Failure::NotFound(format!("{p} is not ours"))),
                Some(p) if list.assignments.is_empty() => Err(Failure::NotFound(format!("{p} is not booked"))),
                _ => Ok(()),
            }
        }
        Ip::Tree { prefix } => {
            let list = ipam.list(soon(ListRequest { within: text(prefix) })).await?.into_inner();
            out.one(&tree(&list))?;
            match prefix {
                Some(p) if list.holdings.is_empty() => Err(Failure::NotFound(format!("{p} is not ours"))),
                _ => Ok(()),
            }
        }
        Ip::Free { prefix } => {
            let free = ipam.free(soon(FreeRequest { within: text(prefix) })).await?.into_inner();
            let blocks: Vec<FreeBlock> = free.prefixes.into_iter().map(|prefix| FreeBlock { prefix }).collect();
            out.rows(&blocks)?;
            let place = prefix.map_or_else(|| "what we hold".to_owned(), |p| p.to_string());
            if blocks.is_empty() { Err(Failure::NotFound(format!("nothing is free in {place}"))) } else { Ok(()) }
        }
        Ip::Holding { what: HoldingVerb::Add { prefix, source } } => {
            let holding = Some(Holding { prefix: prefix.to_string(), source });
            out.one(&ipam.add_holding(soon(AddHoldingRequest { holding })).await?.into_inner())
        }
        Ip::Site { what: SiteVerb::Add { name, description } } => {
            let site = Some(Site { name, description });
            out.one(&ipam.add_site(soon(AddSiteRequest { site })).await?.into_inner())
        }
    }
}

/// `noc announce`.
pub(crate) async fn announce(at: &Address, what: Announce, out: &mut Output) -> Result<(), Failure> {
    let mut ipam = client(at).await?;
    let request = AnnounceRequest { prefix: what.prefix.to_string(), sites: what.from, owner: what.owner };
    out.one(&ipam.announce(soon(request)).await?.into_inner())
}

/// `noc withdraw`.
pub(crate) async fn withdraw(at: &Address, what: Withdraw, out: &mut Output) -> Result<(), Failure> {
    let mut ipam = client(at).await?;
    let request = WithdrawRequest { prefix: what.prefix.to_string(), sites: what.from };
    out.one(&ipam.withdraw(soon(request)).await?.into_inner())
}

/// `noc announcements`.
pub(crate) async fn announcements(at: &Address, site: Option<String>, out: &mut Output) -> Result<(), Failure> {
    let mut ipam = client(at).await?;
    let request = ListAnnouncementsRequest { site: site.unwrap_or_default() };
    out.rows(&ipam.list_announcements(soon(request)).await?.into_inner().announcements)
}

fn text(prefix: Option<Prefix>) -> String {
    prefix.map_or_else(String::new, |p| p.to_string())
}
