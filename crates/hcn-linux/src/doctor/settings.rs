//! Which settings of the kernel does a diagnosis judge?

use std::fs;
use std::path::Path;

use hcn_dataplane::{SeenLink, Survey};

/// Of the whole host.
const GLOBAL: [&str; 13] = [
    "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.all.route_localnet",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.neigh.default.gc_thresh2",
    "net.ipv6.neigh.default.gc_thresh3",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.ipv4.conf.default.rp_filter",
];

/// Of links.
const OF_LINKS: [(&str, &str); 6] = [
    ("ipv4", "rp_filter"),
    ("ipv4", "forwarding"),
    ("ipv4", "route_localnet"),
    ("ipv6", "accept_ra"),
    ("ipv6", "forwarding"),
    ("ipv6", "disable_ipv6"),
];

/// Reads those that the kernel has.
pub(super) fn read(survey: &mut Survey) {
    let folder = Path::new("/proc/sys/net");
    for name in GLOBAL {
        let path = name.split('.').skip(1).fold(folder.to_owned(), |path, part| path.join(part));
        take(survey, name.to_owned(), &path);
    }
    // Ports of bridges carry no packets of the host's.
    let ports = |link: &&SeenLink| !(link.group && link.port);
    let links: Vec<String> = survey.links.iter().filter(ports).map(|link| link.name.clone()).collect();
    for link in links {
        for (family, setting) in OF_LINKS {
            // A name may have dots.
            let path = folder.join(family).join("conf").join(&link).join(setting);
            take(survey, format!("net.{family}.conf.{link}.{setting}"), &path);
        }
    }
}

fn take(survey: &mut Survey, name: String, path: &Path) {
    if let Ok(value) = fs::read_to_string(path) {
        survey.sysctls.insert(name, value.trim().to_owned());
    }
}
