//! The BGP session of something that stands for a neighbour: the exchange of OPENs, whole messages read. Blocking.

use anyhow::{Result, bail, ensure};
use bgp_wire::message::{self, MAX_LEN};
use bgp_wire::{Capability, Message, Notification, Open, SessionContext};
use bytes::{Buf, BytesMut};
use net_types::{Asn, Family, RouterId};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An established session.
pub struct Session {
    /// What was negotiated.
    pub context: SessionContext,
    /// The other side's OPEN.
    pub theirs: Open,
    /// What was read beyond the first KEEPALIVE.
    pub buffer: BytesMut,
}

impl Session {
    /// OPEN, KEEPALIVE, both ways, within ten seconds a message.
    pub fn open(
        stream: &mut TcpStream,
        asn: Asn,
        bgp_identifier: RouterId,
        hold_time: u16,
        families: &[Family],
    ) -> Result<Session> {
        let initial = SessionContext::initial();
        let mut capabilities: Vec<Capability> = families.iter().map(|f| Capability::Multiprotocol(*f)).collect();
        capabilities.push(Capability::RouteRefresh);
        capabilities.push(Capability::FourOctetAsn(asn));
        let open = Open { version: 4, asn, my_as: asn.as_two_octet(), hold_time, bgp_identifier, capabilities };
        stream.write_all(&message::encode(&Message::Open(open), &initial)?)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut buffer = BytesMut::new();
        let Message::Open(theirs) = receive(stream, &mut buffer, &initial)? else { bail!("no OPEN came first") };
        let context = SessionContext {
            ebgp: theirs.asn != asn,
            four_octet_as: theirs.capabilities.iter().any(|c| matches!(c, Capability::FourOctetAsn(_))),
            families: families
                .iter()
                .copied()
                .filter(|f| theirs.capabilities.contains(&Capability::Multiprotocol(*f)))
                .collect(),
            ..initial
        };
        stream.write_all(&message::encode(&Message::Keepalive, &context)?)?;
        ensure!(matches!(receive(stream, &mut buffer, &context)?, Message::Keepalive), "no KEEPALIVE after OPEN");
        stream.set_read_timeout(None)?;
        Ok(Session { context, theirs, buffer })
    }
}

/// Reads until a whole message is there.
pub fn receive(stream: &mut TcpStream, buffer: &mut BytesMut, context: &SessionContext) -> Result<Message> {
    loop {
        if let Some(frame) = message::frame(buffer, MAX_LEN).map_err(|n| complaint(&n))? {
            let body = buffer.get(message::HEADER_LEN..frame.len).unwrap_or_default();
            let decoded = message::decode(frame.kind, body, context).map_err(|n| complaint(&n))?;
            buffer.advance(frame.len);
            if let Message::Notification(n) = decoded {
                bail!("the peer sent NOTIFICATION {}/{} {:?}", n.code, n.subcode, String::from_utf8_lossy(&n.data));
            }
            return Ok(decoded);
        }
        let mut chunk = [0u8; 65536];
        let n = stream.read(&mut chunk)?;
        ensure!(n > 0, "the peer closed the connection");
        buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
}

fn complaint(n: &Notification) -> anyhow::Error {
    anyhow::anyhow!("the peer sent what RFC 4271 §6 answers with NOTIFICATION {}/{}", n.code, n.subcode)
}
