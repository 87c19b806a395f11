//! Every rule by which a configuration can be refused, in one documented table.

macro_rules! rules {
    ($($variant:ident $id:literal $doc:literal),+ $(,)?) => {
        /// A rule of the configuration file; [`RULES`] says what each asks.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Rule { $(#[doc = $doc] $variant,)+ }

        impl Rule {
            /// The name in an error line.
            pub fn id(self) -> &'static str {
                match self { $(Rule::$variant => $id,)+ }
            }
        }

        /// Rule, its name in an error line, and what it asks.
        pub const RULES: &[(Rule, &str, &str)] = &[$((Rule::$variant, $id, $doc),)+];
    };
}

rules! {
    Unreadable "unreadable-file" "The configuration file exists, is UTF-8, and we may read it.",
    Syntax "syntax" "The file is TOML 1.0.",
    UnknownKey "unknown-key" "Every key is one we know; a typing error never passes for a default.",
    MissingKey "missing-key" "A key without a default is there: bgp.local_as, bgp.router_id, a neighbour's name, remote_as, relation, address or range.",
    BadValue "bad-value" "A value is of its key's kind and in its range.",
    BadPrefix "bad-prefix" "A prefix is written address/length with no host bits.",
    BadAddress "bad-address" "An address is IPv4 or IPv6 and can be a unicast neighbour's or our own.",
    DuplicateName "duplicate-neighbor" "No two neighbours share a name, an address or a range.",
    DuplicateGroup "duplicate-group" "No two groups share a name.",
    UnknownGroup "unknown-group" "A neighbour's group exists.",
    AddressOrRange "address-or-range" "A neighbour has an address or a range, not both; a range is passive.",
    RelationAs "relation-as" "Our own AS goes with relation internal or rr-client, any other with an external relation.",
    AsNumber "as-number" "An AS number is usable: not 0, AS_TRANS or the last (RFC 7607, RFC 7300); documentation numbers only with lab = true.",
    CustomerPrefixes "customer-prefixes" "A customer has allowed_prefixes, and only a customer has them.",
    OwnBogon "own-bogon" "Own prefixes are no bogons; documentation space only with lab = true.",
    AnnounceNotOwn "announce-not-own" "Announced prefixes lie within bgp.own_prefixes.",
    LinkLocal "link-local-interface" "A link-local neighbour names its interface.",
    AddressFamily "address-family" "local_address is of the neighbour's address family.",
    HoldTime "hold-time" "hold_time is 0 or at least 3 seconds (RFC 4271 §4.2); send_hold_time exceeds it (RFC 9687 §4).",
    RouteServer "route-server" "A route server's AS is not in the path: enforce_first_as cannot be true there.",
    RoleInternal "role-external" "BGP roles are for eBGP sessions (RFC 9234 §4).",
    InternalMultihop "internal-ttl" "multihop is for eBGP; iBGP always may cross routers.",
    SecretSource "md5-source" "The key is given once: md5 or md5_file; it has 1 to 80 octets (the kernel's limit).",
    SecretFile "md5-file" "The key file can be read and others cannot read it (mode 0640 at most).",
    Listen "listen" "No two listen addresses are the same.",
    PortInUse "port-in-use" "The listen addresses and port are free for us to bind.",
    Endpoint "ipam-endpoint" "An ipamd endpoint is unix:/path or http://address:port, and there is at least one.",
    Ducts "ducts" "A duct has a name and interfaces, and no interface is in two.",
    Families "families" "At least one family, none twice.",
}
