//! Packets that stand for what hcnd's networks carry, as rules see them on their way.

use std::net::IpAddr;

use hcn_dataplane::Protocol;

/// Where conntrack begins to know packets, and where destinations are translated.
const CONNTRACK: i64 = -200;
const DESTINATION_NAT: i64 = -100;

/// A packet on its way through the host.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    /// What it stands for: `from containers of web to elsewhere`.
    pub(super) what: String,
    /// The link that it comes in by; none = the host sends it.
    pub(super) input: Option<String>,
    /// The link that it leaves by; none = it is for the host.
    pub(super) output: Option<String>,
    pub(super) source: IpAddr,
    /// Where it goes in the end.
    pub(super) destination: IpAddr,
    /// Where it was sent to, if that is translated.
    pub(super) sent_to: Option<(IpAddr, u16)>,
    pub(super) protocol: Protocol,
    pub(super) source_port: u16,
    pub(super) port: u16,
    /// It answers one that has passed.
    pub(super) answer: bool,
    /// The destination of its connection is translated.
    pub(super) published: bool,
}

/// A packet where a chain sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) packet: &'a Packet,
    pub(super) hook: &'a str,
    pub(super) priority: i64,
}

impl Packet {
    /// Whether a chain of a family at a hook sees it.
    pub(super) fn passes(&self, family: &str, hook: &str) -> bool {
        let of_family = match family {
            "ip" => self.source.is_ipv4(),
            "ip6" => self.source.is_ipv6(),
            "inet" => true,
            _ => false,
        };
        let at_hook = match hook {
            "prerouting" => self.input.is_some(),
            "input" => self.input.is_some() && self.output.is_none(),
            "forward" => self.input.is_some() && self.output.is_some(),
            "output" => self.input.is_none(),
            "postrouting" => self.output.is_some(),
            _ => false,
        };
        of_family && at_hook
    }
}

impl Seen<'_> {
    /// The interface name, empty where there is none yet.
    pub(super) fn input(&self) -> &str {
        let known = matches!(self.hook, "prerouting" | "input" | "forward");
        self.packet.input.as_deref().filter(|_| known).unwrap_or_default()
    }

    /// The same of the link that it leaves by.
    pub(super) fn output(&self) -> &str {
        let known = matches!(self.hook, "forward" | "output" | "postrouting");
        self.packet.output.as_deref().filter(|_| known).unwrap_or_default()
    }

    /// Destination and port as they are here.
    pub(super) fn destination(&self) -> (IpAddr, u16) {
        let untranslated = matches!(self.hook, "prerouting" | "output") && self.priority <= DESTINATION_NAT;
        let here = self.packet.sent_to.filter(|_| untranslated);
        here.unwrap_or((self.packet.destination, self.packet.port))
    }

    /// Whether it is one of the host's addresses.
    pub(super) fn is_local(&self) -> bool {
        let (address, _) = self.destination();
        self.packet.output.is_none() || address != self.packet.destination
    }

    /// Whether its connection is known here.
    pub(super) fn is_tracked(&self) -> bool {
        !matches!(self.hook, "prerouting" | "output") || self.priority > CONNTRACK
    }
}
