//! The BFD Control packet (RFC 5880 §4.1), and those checks of §6.8.6 that need no session.

use std::fmt;

/// Octets without an authentication section.
pub const MANDATORY_LEN: usize = 24;
/// The least octets of a packet with its A bit set.
const LEAST_WITH_AUTHENTICATION: u8 = 26;
const VERSION: u8 = 1;

/// Session states (RFC 5880 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// Held down by command.
    AdminDown,
    /// Just made, or it failed.
    Down,
    /// We hear the other end; it does not hear us yet.
    Init,
    /// Both ends hear each other.
    Up,
}

impl State {
    /// The RFC's word.
    pub fn as_str(self) -> &'static str {
        match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        }
    }

    fn from_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }

    fn bits(self) -> u8 {
        match self {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a session last changed its state (RFC 5880 §4.1, Diagnostic); five bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// 0, No Diagnostic.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// 1, Control Detection Time Expired.
    pub const DETECTION_TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// 3, Neighbor Signaled Session Down.
    pub const NEIGHBOR_SIGNALED_DOWN: Diagnostic = Diagnostic(3);
    /// 7, Administratively Down.
    pub const ADMINISTRATIVELY_DOWN: Diagnostic = Diagnostic(7);

    /// The RFC's words.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            0 => "No Diagnostic",
            1 => "Control Detection Time Expired",
            2 => "Echo Function Failed",
            3 => "Neighbor Signaled Session Down",
            4 => "Forwarding Plane Reset",
            5 => "Path Down",
            6 => "Concatenated Path Down",
            7 => "Administratively Down",
            8 => "Reverse Concatenated Path Down",
            _ => "Reserved",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The mandatory section. Intervals are in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Why the sender's state last changed.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// P.
    pub poll: bool,
    /// F.
    pub r#final: bool,
    /// C: the sender's BFD outlives its control plane.
    pub control_plane_independent: bool,
    /// A: an authentication section follows.
    pub authentication: bool,
    /// D: the sender asks for silence.
    pub demand: bool,
    /// The sender's multiplier.
    pub detect_mult: u8,
    /// The sender's number of the session, never 0.
    pub my_discriminator: u32,
    /// Ours, as the sender knows it; 0: it does not.
    pub your_discriminator: u32,
    /// How often the sender would send.
    pub desired_min_tx: u32,
    /// How often it can take packets; 0: it wants none.
    pub required_min_rx: u32,
    /// How often it can take echo packets; 0: none.
    pub required_min_echo_rx: u32,
}

/// Why a packet was discarded; each is a clause of RFC 5880 §6.8.6 or of RFC 5881 §5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Discard {
    /// Version Number is not 1.
    Version,
    /// Length below the least, or beyond what came.
    Length,
    /// Detect Mult is 0.
    DetectMult,
    /// M is set.
    Multipoint,
    /// My Discriminator is 0.
    MyDiscriminator,
    /// No session with Your Discriminator, or it is 0 outside of Down and AdminDown, or no session for this sender.
    NoSession,
    /// The A bit does not fit the session.
    AuthenticationBit,
    /// The authentication section does not hold.
    Authentication,
    /// TTL or hop limit below 255 on a single hop (RFC 5881 §5).
    HopLimit,
}

/// A packet and the octets that belong to it, the authentication section included.
pub(super) fn decode(payload: &[u8]) -> Result<(Packet, &[u8]), Discard> {
    // The checks stand in the RFC's order; where the octets end too early for one, length is what is wrong.
    let first = payload.first().ok_or(Discard::Length)?;
    if first >> 5 != VERSION {
        return Err(Discard::Version);
    }
    let (head, _) = payload.split_first_chunk::<MANDATORY_LEN>().ok_or(Discard::Length)?;
    let flags = head[1];
    let authentication = flags & 0x04 != 0;
    let least = if authentication { LEAST_WITH_AUTHENTICATION } else { MANDATORY_LEN as u8 };
    if head[3] < least {
        return Err(Discard::Length);
    }
    let whole = payload.get(..usize::from(head[3])).ok_or(Discard::Length)?;
    if head[2] == 0 {
        return Err(Discard::DetectMult);
    }
    if flags & 0x01 != 0 {
        return Err(Discard::Multipoint);
    }
    let packet = Packet {
        diagnostic: Diagnostic(head[0] & 0x1f),
        state: State::from_bits(flags >> 6),
        poll: flags & 0x20 != 0,
        r#final: flags & 0x10 != 0,
        control_plane_independent: flags & 0x08 != 0,
        authentication,
        demand: flags & 0x02 != 0,
        detect_mult: head[2],
        my_discriminator: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        your_discriminator: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
        desired_min_tx: u32::from_be_bytes([head[12], head[13], head[14], head[15]]),
        required_min_rx: u32::from_be_bytes([head[16], head[17], head[18], head[19]]),
        required_min_echo_rx: u32::from_be_bytes([head[20], head[21], head[22], head[23]]),
    };
    if packet.my_discriminator == 0 {
        return Err(Discard::MyDiscriminator);
    }
    Ok((packet, whole))
}

/// The mandatory section; `length` counts the authentication section too.
pub(super) fn encode(packet: &Packet, length: u8) -> Vec<u8> {
    let bit = |on: bool, value: u8| if on { value } else { 0 };
    let flags = packet.state.bits() << 6
        | bit(packet.poll, 0x20)
        | bit(packet.r#final, 0x10)
        | bit(packet.control_plane_independent, 0x08)
        | bit(packet.authentication, 0x04)
        | bit(packet.demand, 0x02);
    let mut octets = Vec::with_capacity(usize::from(length));
    octets.extend([VERSION << 5 | packet.diagnostic.0 & 0x1f, flags, packet.detect_mult, length]);
    let words = [
        packet.my_discriminator,
        packet.your_discriminator,
        packet.desired_min_tx,
        packet.required_min_rx,
        packet.required_min_echo_rx,
    ];
    octets.extend(words.iter().flat_map(|w| w.to_be_bytes()));
    octets
}
