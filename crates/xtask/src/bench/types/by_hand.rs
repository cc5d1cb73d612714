//! The other side: the same by `ip` and `nft`, on two hosts of the same segment that have no hcnd.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The hosts, 203.0.113.101 and .102.
pub(super) const FIRST: &str = "bare1";
const SECOND: &str = "bare2";
/// The far end of what leads outside.
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

const NO_BR_NETFILTER: &str =
    "for f in /proc/sys/net/bridge/bridge-nf-call-*; do test ! -e $f || echo 0 > $f; done";

/// A namespace on one of the hosts.
pub(super) struct Container {
    /// Path of its file.
    pub(super) netns: String,
    pub(super) address: Ipv4Addr,
}

/// A bridge of one of the hosts.
pub(super) struct Bridge {
    host: &'static str,
    number: u8,
    gateway: bool,
}

/// Runs the lines of a script, each of which must succeed.
fn sh(script: &str) -> anyhow::Result<()> {
    let mut command = Command::new("sh");
    let status = command.args(["-ec", script]).stdin(Stdio::null()).status().context("cannot run sh")?;
    if !status.success() {
        bail!("failed: {script}");
    }
    Ok(())
}

/// Makes the hosts. On them and on those of hcnd bridged frames do not pass the rules of IP, as where br_netfilter is
/// not loaded: hcnd makes no use of it, and cannot keep it from its bridges where it is on.
pub(super) fn hosts() -> anyhow::Result<()> {
    sh(NO_BR_NETFILTER)?;
    sh(&format!("ip netns exec node2 sh -c '{NO_BR_NETFILTER}'"))?;
    for (host, last) in [(FIRST, 101), (SECOND, 102)] {
        sh(&format!(
            "ip netns add {host}
             ip -n outside link add {host} type veth peer name eth0 netns {host}
             ip -n outside link set {host} master eth0 up
             ip -n {host} link set lo up
             ip -n {host} addr add 203.0.113.{last}/24 dev eth0
             ip -n {host} link set eth0 up
             ip -n {host} route add default via 203.0.113.1
             ip netns exec {host} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; {NO_BR_NETFILTER}'"
        ))?;
    }
    Ok(())
}

/// Makes a bridge with the prefix 10.NUMBER.0.0/24, where `gateway` says so with the first address on it.
pub(super) fn bridge(host: &'static str, number: u8, gateway: bool) -> anyhow::Result<Bridge> {
    sh(&format!("ip -n {host} link add br{number} type bridge && ip -n {host} link set br{number} up"))?;
    if gateway {
        sh(&format!("ip -n {host} addr add 10.{number}.0.1/24 dev br{number}"))?;
    }
    Ok(Bridge { host, number, gateway })
}

impl Bridge {
    /// Makes a namespace with an interface on the bridge.
    pub(super) fn container(&self, last: u8) -> anyhow::Result<Container> {
        let Self { host, number, gateway } = self;
        let name = format!("hand{number}-{last}");
        sh(&format!(
            "ip netns add {name}
             ip -n {host} link add v{number}-{last} type veth peer name eth0 netns {name}
             ip -n {host} link set v{number}-{last} master br{number} up
             ip -n {name} link set lo up
             ip -n {name} addr add 10.{number}.0.{last}/24 dev eth0
             ip -n {name} link set eth0 up"
        ))?;
        if *gateway {
            sh(&format!("ip -n {name} route add default via 10.{number}.0.1"))?;
        }
        Ok(Container { netns: path(&name), address: Ipv4Addr::new(10, *number, 0, last) })
    }
}

fn path(name: &str) -> String {
    format!("/run/netns/{name}")
}

/// One rule for the prefix of a bridge.
pub(super) fn masquerade(host: &str, number: u8) -> anyhow::Result<()> {
    sh(&format!(
        "ip netns exec {host} nft 'table ip hand{number} {{ chain post {{ type nat hook postrouting priority srcnat;
             ip saddr 10.{number}.0.0/24 oifname != \"br{number}\" masquerade; }}; }}'"
    ))
}

/// Tells the outside where a prefix is.
pub(super) fn route_back(prefix: &str, host: &str) -> anyhow::Result<()> {
    sh(&format!("ip -n outside route add {prefix} via {host}"))
}

/// A container with an address of the uplink's prefix, which the first host answers for and routes to.
pub(super) fn proxied(address: &str) -> anyhow::Result<String> {
    sh(&format!(
        "ip -n {FIRST} link add prox type bridge
         ip -n {FIRST} link set prox up
         ip netns exec {FIRST} sh -c 'cd /proc/sys/net/ipv4; echo 1 > conf/prox/proxy_arp
             echo 0 > neigh/prox/proxy_delay; echo 0 > neigh/eth0/proxy_delay'
         ip netns add proxied
         ip -n {FIRST} link add vprox type veth peer name eth0 netns proxied
         ip -n {FIRST} link set vprox master prox up
         ip -n proxied link set lo up
         ip -n proxied addr add {address}/24 dev eth0
         ip -n proxied link set eth0 up
         ip -n {FIRST} route add {address} dev prox
         ip -n {FIRST} neigh add proxy {address} dev eth0"
    ))?;
    Ok(path("proxied"))
}

/// A container that stands on the first host's uplink.
pub(super) fn macvlan(address: &str) -> anyhow::Result<String> {
    sh(&format!(
        "ip netns add macvlan
         ip -n {FIRST} link add link eth0 name mv0 netns macvlan type macvlan mode bridge
         ip -n macvlan link set lo up
         ip -n macvlan addr add {address}/24 dev mv0
         ip -n macvlan link set mv0 up"
    ))?;
    Ok(path("macvlan"))
}

/// A container on each host, and a tunnel between.
pub(super) fn vxlan() -> anyhow::Result<[Container; 2]> {
    let mut containers = Vec::new();
    for (host, other, last) in [(FIRST, 102, 10), (SECOND, 101, 20)] {
        let name = format!("vx{last}");
        sh(&format!(
            "ip -n {host} link add ovl type bridge
             ip -n {host} link set ovl mtu 1450 up
             ip -n {host} link add vx0 mtu 1450 type vxlan id 6000 dstport 4789 nolearning
             ip -n {host} link set vx0 master ovl up
             bridge -n {host} fdb append 00:00:00:00:00:00 dev vx0 dst 203.0.113.{other}
             ip netns add {name}
             ip -n {host} link add v{name} mtu 1450 type veth peer name eth0 mtu 1450 netns {name}
             ip -n {host} link set v{name} master ovl up
             ip -n {name} link set lo up
             ip -n {name} addr add 10.126.0.{last}/24 dev eth0
             ip -n {name} link set eth0 up"
        ))?;
        containers.push(Container { netns: path(&name), address: Ipv4Addr::new(10, 126, 0, last) });
    }
    containers.try_into().ok().context("two containers")
}
