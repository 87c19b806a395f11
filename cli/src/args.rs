//! What can be typed. Every help text ends with an example that works.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use daemonbase::grpc::Address;
use net_types::Prefix;
use std::net::IpAddr;

/// The network of the association: sessions, routes, addresses, announcements.
#[derive(Parser)]
#[command(
    name = "noc",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 ok, 1 a finding or nothing found, 2 usage, 3 refused by a safety check, 4 daemon unreachable.\n\
                  Examples:\n  noc show summary\n  noc explain route 192.0.2.0/24\n  noc announce 192.0.2.0/24 --from paris,marseille"
)]
pub(crate) struct Arguments {
    /// Where bgpd answers
    #[arg(
        long,
        global = true,
        env = "NOC_BGPD",
        value_name = "ENDPOINT",
        default_value = "unix:/run/artere/bgpd/bgpd.sock"
    )]
    pub(crate) bgpd: Address,
    /// Where ipamd answers
    #[arg(
        long,
        global = true,
        env = "NOC_IPAM",
        value_name = "ENDPOINT",
        default_value = "unix:/run/artere/ipamd/ipamd.sock"
    )]
    pub(crate) ipam: Address,
    /// A table for people, or JSON from the same data
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Colour: on a terminal only, always, never (NO_COLOR works too)
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// What this router has: sessions, routes, forwarding
    #[command(after_help = "Example: noc show neighbors")]
    Show {
        #[command(subcommand)]
        what: Show,
    },
    /// Why a route is the best, or is sent to a neighbour, or is not
    #[command(after_help = "Example: noc explain route 192.0.2.0/24")]
    Explain {
        #[command(subcommand)]
        what: Explain,
    },
    /// bgpd's configuration file (check one with `bgpd --config FILE --check`)
    #[command(after_help = "Example: noc config reload")]
    Config {
        #[command(subcommand)]
        what: Config,
    },
    /// Drain a neighbour, shut it down, or let it come up again
    #[command(after_help = "Example: noc neighbor disable transit-a --message 'fibre work until 06:00, ticket 42'")]
    Neighbor {
        #[command(subcommand)]
        what: Neighbor,
    },
    /// The association's addresses
    #[command(after_help = "Example: noc ip alloc --length 28 --family ipv4 --owner dept-75")]
    Ip {
        #[command(subcommand)]
        what: Ip,
    },
    /// Announce a prefix from sites
    #[command(after_help = "Example: noc announce 192.0.2.0/24 --from paris,marseille")]
    Announce(Announce),
    /// End an announcement, from some sites or everywhere
    #[command(after_help = "Example: noc withdraw 192.0.2.0/24 --from paris")]
    Withdraw(Withdraw),
    /// What is announced from where
    #[command(after_help = "Example: noc announcements --site paris")]
    Announcements {
        /// Only what this site announces
        #[arg(long, value_name = "SITE")]
        site: Option<String>,
    },
    /// A completion script for your shell, on standard output
    #[command(after_help = "Example: noc completions bash > /etc/bash_completion.d/noc")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Subcommand)]
pub(crate) enum Show {
    /// This router in one page
    #[command(after_help = "Example: noc show summary")]
    Summary,
    /// What bgpd takes of memory, and what for
    #[command(after_help = "Example: noc show memory")]
    Memory,
    /// Sessions; with a name, everything about one
    #[command(visible_alias = "neighbor", after_help = "Example: noc show neighbors transit-a")]
    Neighbors {
        /// Name or address
        name: Option<String>,
    },
    /// BFD sessions: whether the paths to the neighbours are watched, and how closely
    #[command(after_help = "Example: noc show bfd")]
    Bfd,
    /// The routes in use (Loc-RIB); with an address, the longest match
    #[command(
        visible_alias = "routes",
        after_help = "Examples:\n  noc show route 192.0.2.7\n  noc show route 192.0.2.0/24 --longer --all"
    )]
    Route {
        /// Prefix or address
        #[arg(value_parser = prefix_or_address)]
        prefix: Option<String>,
        /// Everything inside the prefix too
        #[arg(long, requires = "prefix")]
        longer: bool,
        /// Every path, not only the best
        #[arg(long)]
        all: bool,
        #[arg(long, value_enum)]
        family: Option<Family>,
    },
    /// What a neighbour sent, before any filter
    #[command(after_help = "Example: noc show rib-in transit-a 192.0.2.0/24")]
    RibIn(Rib),
    /// What we send to a neighbour, after all filters
    #[command(after_help = "Example: noc show rib-out transit-a")]
    RibOut(Rib),
    /// What routes hang on: next hops in use, their backups, and what is lost
    #[command(after_help = "Example: noc show next-hops")]
    NextHops,
    /// What should be in the kernel, and whether it is
    #[command(after_help = "Example: noc show fib --family ipv6")]
    Fib {
        #[arg(long, value_enum)]
        family: Option<Family>,
    },
}

#[derive(Args)]
pub(crate) struct Rib {
    /// The neighbour's name or address
    pub(crate) neighbor: String,
    /// Prefix or address
    #[arg(value_parser = prefix_or_address)]
    pub(crate) prefix: Option<String>,
    /// Everything inside the prefix too
    #[arg(long, requires = "prefix")]
    pub(crate) longer: bool,
    #[arg(long, value_enum)]
    pub(crate) family: Option<Family>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    #[value(alias = "ipv4-unicast")]
    Ipv4,
    #[value(alias = "ipv6-unicast")]
    Ipv6,
}

#[derive(Subcommand)]
pub(crate) enum Explain {
    /// Every path to a prefix, the step it lost at, and both values
    #[command(after_help = "Example: noc explain route 192.0.2.0/24")]
    Route {
        /// Prefix or address
        #[arg(value_parser = prefix_or_address)]
        prefix: String,
    },
    /// Each rule between a route and a neighbour, and what it said
    #[command(after_help = "Example: noc explain export 192.0.2.0/24 transit-a")]
    Export {
        /// Prefix
        prefix: Prefix,
        /// The neighbour's name or address
        neighbor: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Config {
    /// Read the file again and apply the difference; a bad file changes nothing
    #[command(after_help = "Example: noc config reload")]
    Reload,
}

#[derive(Subcommand)]
pub(crate) enum Neighbor {
    /// Let it come up again
    #[command(after_help = "Example: noc neighbor enable transit-a")]
    Enable {
        /// Name or address
        name: String,
    },
    /// Shut it down; the neighbour sees the message (RFC 9003)
    #[command(after_help = "Example: noc neighbor disable transit-a --message 'fibre work until 06:00'")]
    Disable {
        /// Name or address
        name: String,
        /// Why, for the people at the other end
        #[arg(long, default_value = "")]
        message: String,
    },
    /// Lead traffic away from an eBGP session before you work on it (RFC 8326); nothing is lost
    #[command(after_help = "Example: noc neighbor drain transit-a")]
    Drain {
        /// Name or address
        name: String,
    },
    /// Let traffic come back after a drain
    #[command(after_help = "Example: noc neighbor undrain transit-a")]
    Undrain {
        /// Name or address
        name: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Ip {
    /// Book exactly this prefix
    #[command(after_help = "Example: noc ip add 192.0.2.0/28 --owner dept-75 --site paris --description 'food bank'")]
    Add {
        prefix: Prefix,
        #[command(flatten)]
        what: Particulars,
    },
    /// Book the next free prefix of a length
    #[command(after_help = "Example: noc ip alloc --length 64 --family ipv6 --owner dept-13")]
    Alloc {
        /// How long a prefix
        #[arg(long, value_name = "N")]
        length: u8,
        #[arg(long, value_enum, required_unless_present = "within")]
        family: Option<Family>,
        /// Take it from this holding or assignment of yours
        #[arg(long, value_name = "PREFIX")]
        within: Option<Prefix>,
        #[command(flatten)]
        what: Particulars,
    },
    /// Give an assignment back
    #[command(after_help = "Example: noc ip release 192.0.2.0/28 --owner dept-75")]
    Release {
        prefix: Prefix,
        /// Refuse if it is somebody else's
        #[arg(long, default_value = "")]
        owner: String,
    },
    /// Who has what; with a prefix or address, who has that
    #[command(after_help = "Example: noc ip show 192.0.2.7")]
    Show {
        #[arg(value_parser = some_prefix)]
        prefix: Option<Prefix>,
    },
    /// Holdings, assignments inside them, and where they are announced
    #[command(after_help = "Example: noc ip tree 192.0.2.0/24")]
    Tree {
        #[arg(value_parser = some_prefix)]
        prefix: Option<Prefix>,
    },
    /// What nobody has booked
    #[command(after_help = "Example: noc ip free 2001:db8::/44")]
    Free { prefix: Option<Prefix> },
    /// Space that a registry gave us
    Holding {
        #[command(subcommand)]
        what: Holding,
    },
    /// Places that announce
    Site {
        #[command(subcommand)]
        what: Site,
    },
}

#[derive(Args)]
pub(crate) struct Particulars {
    /// For whom
    #[arg(long)]
    pub(crate) owner: String,
    /// Where it is used
    #[arg(long, default_value = "")]
    pub(crate) site: String,
    /// For people
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    /// Ask with a key of yours: the same key gets the same answer, once
    #[arg(long, default_value = "", value_name = "KEY")]
    pub(crate) key: String,
}

#[derive(Subcommand)]
pub(crate) enum Holding {
    /// A registry gave us this
    #[command(after_help = "Example: noc ip holding add 203.0.113.0/24 --source 'RIPE inetnum'")]
    Add {
        prefix: Prefix,
        /// Which registry object says so
        #[arg(long, default_value = "")]
        source: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Site {
    /// A place that announces, by the name in its bgpd's configuration
    #[command(after_help = "Example: noc ip site add chartres")]
    Add {
        name: String,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
    },
}

#[derive(Args)]
pub(crate) struct Announce {
    /// What
    pub(crate) prefix: Prefix,
    /// From which sites, separated by commas
    #[arg(long, value_name = "SITES", value_delimiter = ',', required = true)]
    pub(crate) from: Vec<String>,
    /// Whose it is, if you want that checked
    #[arg(long, default_value = "")]
    pub(crate) owner: String,
}

#[derive(Args)]
pub(crate) struct Withdraw {
    /// What
    pub(crate) prefix: Prefix,
    /// From which sites, separated by commas; everywhere if not given
    #[arg(long, value_name = "SITES", value_delimiter = ',')]
    pub(crate) from: Vec<String>,
}

fn prefix_or_address(text: &str) -> Result<String, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => text.parse::<Prefix>().map(|p| p.to_string()).map_err(|e| e.to_string()),
    }
}

fn some_prefix(text: &str) -> Result<Prefix, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(Prefix::host(address)),
        Err(_) => text.parse().map_err(|e: net_types::PrefixError| e.to_string()),
    }
}
