//! Do the probes find what the tools of administrators find, and leave nothing?
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what fails must fail the test")]

mod common;

use std::time::Instant;

use common::{isolated, sh, succeeds};
use hcn_linux::features;

/// What makes or shows each feature by hand. nft is asked for a rule in a chain of the type and hook that it needs.
const BY_TOOL: [(&str, &str); 30] = [
    ("bridge", "ip link add p0 type bridge"),
    ("veth", "ip link add p1 type veth peer name p2"),
    ("vxlan", "ip link add p3 type vxlan id 7 dstport 4789"),
    ("macvlan", "ip link add p4 link p1 type macvlan"),
    ("vlan", "ip link add p5 link p1 type vlan id 9"),
    ("ipvlan", "ip link add p7 link p2 type ipvlan mode l2"),
    // Kernels without it make one that does not filter.
    (
        "bridge vlan filtering",
        "ip link add p6 type bridge vlan_filtering 1 && ip -d link show p6 | grep -q 'vlan_filtering 1'",
    ),
    ("tc tbf", "tc qdisc add dev p1 root tbf rate 1mbit burst 32kbit latency 400ms"),
    ("tc htb", "tc qdisc add dev p2 root htb"),
    ("tc clsact", "tc qdisc add dev p1 clsact"),
    ("tun", "true <> /dev/net/tun"),
    ("nftables inet", "nft 'add table inet a; add chain inet a c { type filter hook input priority 0; }'"),
    ("nftables ip", "nft 'add table ip a; add chain ip a c { type filter hook input priority 0; }'"),
    ("nftables ip6", "nft 'add table ip6 a; add chain ip6 a c { type filter hook input priority 0; }'"),
    (
        "nftables bridge",
        "nft 'add table bridge a; add chain bridge a c { type filter hook forward priority 0; }'",
    ),
    (
        "bridge conntrack",
        "nft 'add table bridge b; add chain bridge b c { type filter hook prerouting priority 0; }; \
         add rule bridge b c ct state new'",
    ),
    (
        "nftables netdev",
        "nft 'add table netdev a; add chain netdev a c { type filter hook ingress device lo priority 0; }'",
    ),
    (
        "nftables nat",
        "nft 'add chain inet a n { type nat hook prerouting priority 0; }; add rule inet a n dnat ip to 192.0.2.1'",
    ),
    (
        "nftables masq",
        "nft 'add chain inet a m { type nat hook postrouting priority 0; }; add rule inet a m masquerade'",
    ),
    ("nftables numgen", "nft add rule inet a c meta mark set numgen inc mod 2"),
    ("nftables hash", "nft add rule inet a c meta mark set jhash ip saddr mod 2"),
    ("nftables reject", "nft add rule inet a c meta l4proto tcp reject with tcp reset"),
    ("nftables fib", "nft add rule inet a c fib daddr type local"),
    ("nftables ct", "nft add rule inet a c ct state new"),
    (
        "nftables tproxy",
        "nft 'add chain inet a t { type filter hook prerouting priority 0; }; \
         add rule inet a t meta l4proto tcp tproxy ip to :80'",
    ),
    ("nftables table owner", "echo 'add table ip o { flags owner; }' | nft -f -"),
    ("conntrack", "test -e /proc/sys/net/netfilter/nf_conntrack_count"),
    ("conntrack sctp", "test -e /proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established"),
    ("br_netfilter", "test -e /proc/sys/net/bridge"),
    ("ipv6", "test -e /proc/sys/net/ipv6"),
];

#[test]
fn what_is_found_is_what_the_tools_can_make() {
    isolated("what_is_found_is_what_the_tools_can_make", || {
        let look = || sh("ip -o link; nft list ruleset; tc qdisc");
        let before = look();
        let started = Instant::now();
        let found = features();
        println!("measured: features in {:?}", started.elapsed());
        assert_eq!(look(), before);
        assert_eq!(found.kernel, sh("uname -r").trim());
        for feature in &found.list {
            assert!(!feature.needed_for.is_empty());
            // Older tools do not know this one.
            if feature.name == "nftables table persist" {
                continue;
            }
            let (_, command) = BY_TOOL.iter().find(|(name, _)| *name == feature.name).unwrap();
            assert_eq!(feature.present, succeeds(command), "{}: {command}", feature.name);
        }
        assert_eq!(found.list.len(), BY_TOOL.len() + 1);
    });
}

#[test]
fn without_the_right_to_make_a_namespace_nothing_is_asked() {
    isolated("without_the_right_to_make_a_namespace_nothing_is_asked", || {
        sh("echo 0 > /proc/sys/user/max_net_namespaces");
        let found = features();
        let present: Vec<_> = found.list.iter().filter(|feature| feature.present).collect();
        assert!(present.iter().all(|feature| ["tun", "ipv6"].contains(&feature.name)), "{present:?}");
        assert_eq!(found.list.len(), BY_TOOL.len() + 1);
    });
}
