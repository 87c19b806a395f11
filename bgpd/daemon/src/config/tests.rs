//! One row a rule: the file, and the whole line that it must earn.

use super::diff::{Cost, NEIGHBOR_COSTS, SPEAKER_COSTS, compare, compare_neighbor};
use super::*;
use std::os::unix::fs::PermissionsExt;

const HEAD: &str = "[bgp]\nlocal_as = 64500\nrouter_id = \"192.0.2.1\"\nlab = true\n";

fn with(neighbor: &str) -> String {
    format!(
        "{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"198.51.100.1\"\nremote_as = 64501\nrelation = \"transit\"\n{neighbor}"
    )
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("t.toml"), text)
}

/// Rules that a running daemon finds (a socket), not the parser; tests/ has them.
const ELSEWHERE: &[Rule] = &[Rule::PortInUse];

#[test]
fn a_group_s_bfd_is_inherited_and_its_change_is_live() {
    let file = |interval: u32| {
        format!(
            "{HEAD}[[group]]\nname = \"g\"\nremote_as = 64501\nrelation = \"transit\"\nbfd = {{ interval = {interval} }}\n\
             [[neighbor]]\nname = \"a\"\ngroup = \"g\"\naddress = \"198.51.100.1\"\n"
        )
    };
    let (old, new) = (parse(&file(50)).unwrap(), parse(&file(200)).unwrap());
    let bfd = old.neighbors["a"].bfd.as_ref().unwrap();
    assert_eq!((bfd.interval.as_millis(), bfd.multiplier, bfd.strict, bfd.multihop), (50, 3, false, false));
    let changes = compare_neighbor(&old.neighbors["a"], &new.neighbors["a"]);
    assert_eq!(changes.iter().map(|c| (c.field, c.cost)).collect::<Vec<_>>(), [("bfd", Cost::Live)]);
    assert!(parse(&with("")).unwrap().neighbors["a"].bfd.is_none());
}

#[test]
fn every_rule_has_a_row_with_its_whole_line() {
    let rows: Vec<(Rule, String, &str)> = vec![
        (
            Rule::Syntax,
            "[bgp\n".into(),
            "t.toml:1: syntax: unclosed table, expected `]`; mend the TOML at this line (https://toml.io)",
        ),
        (
            Rule::UnknownKey,
            with("hold_tme = 9\n"),
            "t.toml:10: unknown-key: unknown key `hold_tme`; did you mean `hold_time`?",
        ),
        (
            Rule::UnknownKey,
            format!("{HEAD}[daemon]\ncolour = 1\n"),
            "t.toml:6: unknown-key: unknown key `colour`; known here: run_dir, state_dir, log, hostname",
        ),
        (
            Rule::MissingKey,
            "[bgp]\nlocal_as = 64500\n".into(),
            "t.toml:1: missing-key: `router_id` is missing; add `router_id = …` here",
        ),
        (
            Rule::MissingKey,
            format!("{HEAD}[[neighbor]]\naddress = \"198.51.100.1\"\n"),
            "t.toml:5: missing-key: `name` is missing; add a unique `name = \"…\"` here",
        ),
        (
            Rule::MissingKey,
            format!("{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"198.51.100.1\"\n"),
            "t.toml:5: missing-key: neighbour \"a\" has no `remote_as`; add `remote_as = …` here or in its group",
        ),
        (
            Rule::BadValue,
            with("hold_time = \"x\"\n"),
            "t.toml:10: bad-value: invalid type: string \"x\", expected u16; write a value of that kind",
        ),
        (
            Rule::BadValue,
            with("hold_time = 70000\n"),
            "t.toml:10: bad-value: invalid value: integer `70000`, expected u16; write a value of that kind",
        ),
        (
            Rule::BadValue,
            with("policy = \"none\"\n"),
            "t.toml:10: bad-value: policy \"none\" is unknown; one of relationship, accept-all, deny",
        ),
        (
            Rule::BadValue,
            with("md5 = 1234\n"),
            "t.toml:10: bad-value: invalid key: expected text in quotes; write a value of that kind",
        ),
        (
            Rule::BadValue,
            with("delay_open = 121\n"),
            "t.toml:10: bad-value: delay_open of 121 s: the neighbour would give up before; write 0 (off) to 120",
        ),
        (
            Rule::BadValue,
            with("add_path = { receive = true, send = 0 }\n"),
            "t.toml:10: bad-value: add_path.send is 0; write \"all\", a number from 1, or leave `send` out",
        ),
        (
            Rule::BadValue,
            with("add_path = { send = \"both\" }\n"),
            "t.toml:10: bad-value: add_path.send is \"both\"; write \"all\", a number from 1, or leave `send` out",
        ),
        (
            Rule::BadValue,
            format!("{HEAD}multipath = {{ ebgp = 4, ibgp = 65 }}\n"),
            "t.toml:5: bad-value: multipath.ibgp is 65; write 1 (off) to 64",
        ),
        (
            Rule::Ducts,
            format!("{HEAD}[ducts]\nnorth = [\"eth1\", \"eth2\"]\n\n\"east\" = [\n  \"eth3\",\n  \"eth2\",\n]\n"),
            "t.toml:10: ducts: interface \"eth2\" stands in duct \"north\" already; an interface is in one duct: remove one",
        ),
        (
            Rule::Ducts,
            format!("{HEAD}[ducts]\nnorth = [\"eth1\", \"eth1\"]\n"),
            "t.toml:6: ducts: interface \"eth1\" stands in duct \"north\" already; an interface is in one duct: remove one",
        ),
        (
            Rule::Ducts,
            format!("{HEAD}[ducts]\nnorth = [\"\"]\n"),
            "t.toml:6: ducts: \"\" is no name of an interface; write it as `ip link` shows it",
        ),
        (
            Rule::Ducts,
            format!("{HEAD}[ducts]\nnorth = []\n"),
            "t.toml:6: ducts: no interface runs through duct \"north\"; name its interfaces, or remove the line",
        ),
        (
            Rule::Ducts,
            format!("{HEAD}[ducts]\n\"\" = [\"eth1\"]\n"),
            "t.toml:6: ducts: a duct without a name; name it as the digger would",
        ),
        (
            Rule::BadPrefix,
            format!("{HEAD}own_prefixes = [\n  \"203.0.113.0/24\",\n  \"192.0.2.1/24\",\n]\n"),
            "t.toml:7: bad-prefix: 192.0.2.1/24 has bits set behind its length; write 192.0.2.0/24",
        ),
        (
            Rule::BadPrefix,
            format!("{HEAD}own_prefixes = [\"192.0.2.0\"]\n"),
            "t.toml:5: bad-prefix: \"192.0.2.0\" is not a prefix; write a network and its length",
        ),
        (
            Rule::BadAddress,
            format!("{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"198.51.100.300\"\n"),
            "t.toml:7: bad-address: \"198.51.100.300\": invalid IP address syntax; write the neighbour's address, such as 192.0.2.1",
        ),
        (
            Rule::BadAddress,
            format!("{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"224.0.0.5\"\n"),
            "t.toml:7: bad-address: 224.0.0.5 is no unicast address; write the neighbour's own address",
        ),
        (
            Rule::DuplicateName,
            with("[[neighbor]]\nname = \"a\"\naddress = \"198.51.100.2\"\nremote_as = 64501\nrelation = \"transit\"\n"),
            "t.toml:11: duplicate-neighbor: neighbour \"a\" stands twice; rename or remove one",
        ),
        (
            Rule::DuplicateName,
            with("[[neighbor]]\nname = \"b\"\naddress = \"198.51.100.1\"\nremote_as = 64501\nrelation = \"transit\"\n"),
            "t.toml:12: duplicate-neighbor: the address of neighbour \"b\" is already taken by line 7; one neighbour an address: remove or merge one",
        ),
        (
            Rule::DuplicateGroup,
            format!("{HEAD}[[group]]\nname = \"g\"\n[[group]]\nname = \"g\"\n"),
            "t.toml:8: duplicate-group: group \"g\" stands twice; merge the two, or rename one",
        ),
        (
            Rule::UnknownGroup,
            with("group = \"g\"\n"),
            "t.toml:10: unknown-group: there is no group \"g\"; add a [[group]] of that name",
        ),
        (
            Rule::AddressOrRange,
            format!("{HEAD}[[neighbor]]\nname = \"a\"\n"),
            "t.toml:5: address-or-range: neighbour \"a\" has neither `address` nor `range`; add `address = \"…\"` here",
        ),
        (
            Rule::AddressOrRange,
            with("range = \"192.0.2.0/24\"\n"),
            "t.toml:10: address-or-range: neighbour \"a\" has both `address` and `range`; keep one of the two",
        ),
        (
            Rule::RelationAs,
            format!(
                "{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"198.51.100.1\"\nremote_as = 64500\nrelation = \"transit\"\n"
            ),
            "t.toml:9: relation-as: relation transit with our own AS 64500; correct remote_as, or write internal or rr-client",
        ),
        (
            Rule::RelationAs,
            format!(
                "{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"198.51.100.1\"\nremote_as = 64501\nrelation = \"internal\"\n"
            ),
            "t.toml:9: relation-as: relation internal with AS 64501, which is not ours (64500); correct remote_as, or choose an external relation",
        ),
        (
            Rule::AsNumber,
            "[bgp]\nlocal_as = 64500\nrouter_id = \"192.0.2.1\"\n".into(),
            "t.toml:2: as-number: AS 64500 is for documentation (RFC 5398); use the real number, or set bgp.lab = true in a lab",
        ),
        (
            Rule::AsNumber,
            "[bgp]\nlocal_as = 0\nrouter_id = \"192.0.2.1\"\n".into(),
            "t.toml:2: as-number: AS 0 is reserved; give the AS number that the registry assigned",
        ),
        (
            Rule::CustomerPrefixes,
            format!(
                "{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"198.51.100.1\"\nremote_as = 64510\nrelation = \"customer\"\n"
            ),
            "t.toml:5: customer-prefixes: customer \"a\" has no allowed_prefixes; list what it may announce",
        ),
        (
            Rule::OwnBogon,
            "[bgp]\nlocal_as = 3215\nrouter_id = \"192.0.2.1\"\nown_prefixes = [\"203.0.113.0/24\"]\n".into(),
            "t.toml:4: own-bogon: own prefix 203.0.113.0/24 is documentation space (RFC 5737); use the registry's prefixes, or set bgp.lab = true in a lab",
        ),
        (
            Rule::OwnBogon,
            format!("{HEAD}own_prefixes = [\"10.0.0.0/8\"]\n"),
            "t.toml:5: own-bogon: own prefix 10.0.0.0/8 is private use space (RFC 1918); use the registry's prefixes; what only lives inside goes to bgp.internal_prefixes",
        ),
        (
            Rule::AnnounceNotOwn,
            format!("{HEAD}own_prefixes = [\"203.0.113.0/24\"]\n[announce]\nprefixes = [\"198.51.100.0/24\"]\n"),
            "t.toml:7: announce-not-own: 198.51.100.0/24 is not within bgp.own_prefixes; announce only own space, or add its holding to bgp.own_prefixes",
        ),
        (
            Rule::LinkLocal,
            format!("{HEAD}[[neighbor]]\nname = \"a\"\naddress = \"fe80::1\"\n"),
            "t.toml:7: link-local-interface: fe80::1 is link-local; add `interface = \"eth1\"`",
        ),
        (
            Rule::AddressFamily,
            with("local_address = \"2001:db8::1\"\n"),
            "t.toml:10: address-family: local_address 2001:db8::1 is of another family than the neighbour's; give one of the same family",
        ),
        (
            Rule::HoldTime,
            with("hold_time = 2\n"),
            "t.toml:10: hold-time: hold_time of 2 s; write 0 (off) or at least 3 (RFC 4271 §4.2)",
        ),
        (
            Rule::HoldTime,
            with("send_hold_time = 90\n"),
            "t.toml:10: hold-time: send_hold_time 90 s does not exceed hold_time 90 s; write more than hold_time, or 0 for off (RFC 9687 §4)",
        ),
        (
            Rule::RouteServer,
            with("").replace("transit", "route-server") + "enforce_first_as = true\n",
            "t.toml:10: route-server: a route server's AS is not in the path; remove enforce_first_as from this neighbour",
        ),
        (
            Rule::RoleInternal,
            with("").replace("64501", "64500").replace("transit", "internal") + "role = \"peer\"\n",
            "t.toml:10: role-external: role on an iBGP session; remove it: roles are between autonomous systems",
        ),
        (
            Rule::InternalMultihop,
            with("").replace("64501", "64500").replace("transit", "internal") + "multihop = 2\n",
            "t.toml:10: internal-ttl: multihop on an iBGP session; remove it: iBGP sessions are never held to one hop",
        ),
        (
            Rule::SecretSource,
            with("md5 = \"\"\n"),
            "t.toml:10: md5-source: an MD5 key of 0 octets; give one of 1 to 80 octets",
        ),
        (
            Rule::SecretSource,
            with("md5 = \"k\"\nmd5_file = \"k\"\n"),
            "t.toml:11: md5-source: both md5 and md5_file; keep md5_file",
        ),
        (
            Rule::SecretFile,
            with("md5_file = \"no/such/key\"\n"),
            "t.toml:10: md5-file: no/such/key: No such file or directory (os error 2); create it, mode 0600, owned by bgpd's user",
        ),
        (
            Rule::BadValue,
            with("bfd = { interval = 1 }\n"),
            "t.toml:10: bad-value: bfd.interval of 1 ms; write 5 to 60000 (milliseconds)",
        ),
        (
            Rule::BadValue,
            with("bfd = { multiplier = 0 }\n"),
            "t.toml:10: bad-value: bfd.multiplier of 0; write 1 to 255 (RFC 5880 §6.8.1)",
        ),
        (
            Rule::BadValue,
            with("bfd = { auth = \"md5\", auth_key_id = 1, auth_key_file = \"k\" }\n"),
            "t.toml:10: bad-value: bfd.auth \"md5\" is unknown; one of sha1, meticulous-sha1",
        ),
        (
            Rule::MissingKey,
            with("bfd = { auth = \"sha1\" }\n"),
            "t.toml:10: missing-key: bfd authentication is incomplete; give all three of auth, auth_key_id and auth_key_file, or none",
        ),
        (Rule::Listen, format!("{HEAD}listen = [\"::\", \"::\"]\n"), "t.toml:5: listen: :: stands twice; remove one"),
        (
            Rule::Endpoint,
            format!("{HEAD}[ipam]\nsite = \"paris\"\nendpoints = [\"https://ipam.example\"]\n"),
            "t.toml:7: ipam-endpoint: \"https://ipam.example\" is no ipamd endpoint; write unix:/run/artere/ipamd/ipamd.sock or http://[2001:db8::53]:50071",
        ),
        (
            Rule::Families,
            with("families = [\"ipv4-unicast\", \"ipv4-unicast\"]\n"),
            "t.toml:10: families: ipv4-unicast stands twice; remove one",
        ),
        (
            Rule::Families,
            with("families = []\n"),
            "t.toml:10: families: no family; name ipv4-unicast or ipv6-unicast, or remove the key for both",
        ),
    ];
    for (rule, text, line) in &rows {
        let error = parse(text).expect_err(line);
        assert_eq!((error.to_string().as_str(), error.rule), (*line, *rule), "in:\n{text}");
        assert!(!error.to_string().contains('\n'));
    }
    for (rule, id, _) in rules::RULES {
        let covered = rows.iter().any(|r| r.0 == *rule) || *rule == Rule::Unreadable || ELSEWHERE.contains(rule);
        assert!(covered, "rule {id} has no row");
    }
}

#[test]
fn an_unreadable_file_is_one_line_too() {
    let e = Config::load(Path::new("/no/such/file.toml")).expect_err("refused");
    assert_eq!(
        e.to_string(),
        "/no/such/file.toml:0: unreadable-file: No such file or directory (os error 2); give the path of an existing file with --config"
    );
}

#[test]
fn a_key_file_open_to_everyone_is_refused_and_never_shown() {
    let dir = std::env::temp_dir().join(format!("bgpd-config-test-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let key = dir.join("key");
    std::fs::write(&key, "hunter2\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = with("md5_file = \"key\"\n");
    let file = dir.join("t.toml");
    let e = Config::parse(&file, &text).expect_err("refused").to_string();
    let (d, k) = (file.display(), key.display());
    assert_eq!(e, format!("{d}:10: md5-file: {k} can be read by everyone (mode 0644); chmod 0600 {k}"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let good = Config::parse(&file, &text).unwrap();
    assert_eq!(good.neighbors["a"].md5.as_ref().unwrap().0, "hunter2");
    assert!(!format!("{good:?}").contains("hunter2"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_file_that_means_the_same_changes_nothing() {
    let short = parse(&with("")).unwrap();
    let long = "# a comment\n[fib]\nmetric = 512\n[bgp]\nrouter_id = \"192.0.2.1\"\nlab=true\nport = 179\nlocal_as = \"AS64500\"\nselection_deferral = 60\nmax_med_on_startup = 60\n\n\
         [[group]]\nname = \"g\"\nrelation = \"transit\"\nhold_time = 90\n\
         [[neighbor]]\nrelation = \"transit\"\ngroup = \"g\"\nremote_as = 64501\nname = 'a'\naddress = \"198.51.100.1\"\nfamilies = [\"ipv6-unicast\", \"ipv4-unicast\"]\n\
         passive = false\nenabled = true\npolicy = \"relationship\"\nmax_as_path = 64\nsend_hold_time = 480\ngr_helper = true\n";
    let d = compare(&short, &parse(long).unwrap());
    assert!(d.is_empty(), "{d:?}");
    assert_eq!(d.lines(), ["a: unchanged"]);
}

#[test]
fn a_group_gives_what_the_neighbour_does_not() {
    let c = parse(&format!(
        "{HEAD}[[group]]\nname = \"g\"\nrelation = \"peer\"\nremote_as = 64502\nhold_time = 30\n\
         [[neighbor]]\nname = \"a\"\ngroup = \"g\"\naddress = \"198.51.100.1\"\nhold_time = 9\n"
    ))
    .unwrap();
    let a = &c.neighbors["a"];
    assert_eq!((a.remote_as.0, a.hold_time, a.relation.as_str()), (64502, 9, "peer"));
}

/// Each key of a neighbour, a text that changes it, and whether the session lives on.
#[test]
fn each_neighbour_field_has_its_cost() {
    let rows: &[(&str, &str, &str)] = &[
        ("name", "name = \"a\"", "name = \"b\""),
        ("description", "", "description = \"x\""),
        ("remote", "address = \"198.51.100.1\"", "address = \"198.51.100.2\""),
        ("port", "", "port = 1790"),
        ("local_address", "", "local_address = \"198.51.100.9\""),
        ("interface", "", "interface = \"eth9\""),
        ("remote_as", "remote_as = 64501", "remote_as = 64502"),
        (
            "relation",
            "relation = \"transit\"",
            "relation = \"peer\"\nmax_prefix = { \"ipv4-unicast\" = { limit = 2000000, restart = 1800 }, \"ipv6-unicast\" = { limit = 600000, restart = 1800 } }",
        ),
        ("families", "", "families = [\"ipv4-unicast\"]"),
        ("policy", "", "policy = \"deny\""),
        ("passive", "", "passive = true"),
        ("enabled", "", "enabled = false"),
        ("hold_time", "", "hold_time = 30"),
        ("send_hold_time", "", "send_hold_time = 500"),
        ("connect_retry_time", "", "connect_retry_time = 2"),
        ("delay_open", "", "delay_open = 5"),
        ("md5", "", "md5 = \"key\""),
        ("ttl_security", "", "ttl_security = true"),
        ("multihop", "", "multihop = 3"),
        ("role", "", "role = \"peer\""),
        ("role_strict", "", "role_strict = true"),
        ("enforce_first_as", "", "enforce_first_as = false"),
        ("extended_message", "", "extended_message = false"),
        ("extended_next_hop", "", "extended_next_hop = true"),
        ("enhanced_refresh", "", "enhanced_refresh = false"),
        ("add_path", "", "add_path = { receive = true, send = 2 }"),
        ("gr_helper", "", "gr_helper = false"),
        ("gr_restart_time", "", "gr_restart_time = 7"),
        ("max_prefix", "", "max_prefix = { \"ipv4-unicast\" = { limit = 7 } }"),
        ("next_hop_self", "", "next_hop_self = true"),
        ("allow_own_as", "", "allow_own_as = 1"),
        ("allowed_prefixes", "", ""),
        ("allowed_origins", "", "allowed_origins = [64511]"),
        ("local_pref", "", "local_pref = 50"),
        ("max_as_path", "", "max_as_path = 20"),
        ("export", "", "export = false"),
        ("prepend", "", "prepend = 2"),
        ("graceful_shutdown", "", "graceful_shutdown = false"),
        ("drain", "", "drain = true"),
        ("bfd", "", "bfd = { interval = 50, multiplier = 3 }"),
    ];
    let base = with("");
    let old = parse(&base).unwrap();
    for ((field, from, to), (known, cost)) in rows.iter().zip(NEIGHBOR_COSTS) {
        assert_eq!(field, known, "one row a field, in the table's order");
        let changes = if *field == "allowed_prefixes" {
            let mut new = (*old.neighbors["a"]).clone();
            new.allowed_prefixes = vec!["203.0.113.0/24".parse().unwrap()];
            compare_neighbor(&old.neighbors["a"], &new)
        } else {
            let text = if from.is_empty() { format!("{base}{to}\n") } else { base.replace(from, to) };
            let new = parse(&text).unwrap();
            compare_neighbor(&old.neighbors["a"], new.neighbors.values().next().unwrap())
        };
        let changed: Vec<(&str, Cost)> = changes.iter().map(|c| (c.field, c.cost)).collect();
        assert_eq!(changed, [(*field, *cost)]);
    }
    assert_eq!(rows.len(), NEIGHBOR_COSTS.len());
}

#[test]
fn each_speaker_setting_has_its_cost() {
    let old = parse(&with("")).unwrap();
    let rows: &[(&str, &str, &str)] = &[
        ("local_as", "local_as = 64500", "local_as = 64505"),
        ("router_id", "router_id = \"192.0.2.1\"", "router_id = \"192.0.2.2\""),
        (
            "lab",
            "local_as = 64500\nrouter_id = \"192.0.2.1\"\nlab = true",
            "local_as = 64500\nrouter_id = \"192.0.2.1\"\nlab = false",
        ),
        ("own_prefixes", "lab = true", "lab = true\nown_prefixes = [\"203.0.113.0/24\"]"),
        ("internal_prefixes", "lab = true", "lab = true\ninternal_prefixes = [\"10.0.0.0/24\"]"),
        ("cluster_id", "lab = true", "lab = true\ncluster_id = \"192.0.2.9\""),
        ("selection_deferral", "lab = true", "lab = true\nmax_med_on_startup = 60\nselection_deferral = 5"),
        ("max_med_on_startup", "lab = true", "lab = true\nmax_med_on_startup = 0"),
        ("wait_for_fib", "lab = true", "lab = true\nwait_for_fib = false"),
        ("ducts", "lab = true", "lab = true\n[ducts]\nnorth = [\"eth1\", \"eth2\"]"),
        ("multipath", "lab = true", "lab = true\nmultipath = { ebgp = 2 }"),
    ];
    for ((field, from, to), (known, cost)) in rows.iter().zip(SPEAKER_COSTS) {
        assert_eq!(field, known);
        let changes = if *field == "lab" {
            let mut new = old.clone();
            new.speaker.lab = false;
            compare(&old, &new).settings
        } else {
            compare(&old, &parse(&with("").replace(from, to)).unwrap()).settings
        };
        assert_eq!(changes, [diff::FieldChange { field, cost: *cost }]);
    }
}

#[test]
fn every_shipped_example_parses() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("bgpd-")) {
            Config::load(&path).unwrap_or_else(|e| panic!("{e}"));
            seen += 1;
        }
    }
    assert!(seen >= 3, "three roles at least, saw {seen}");
}
