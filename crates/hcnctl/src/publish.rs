//! Ports as people write them: `8080:80`, `5353:53/udp`, `203.0.113.10:8080:80`, `[2001:db8::1]:8080:80`.

use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::policy::Policy;

/// A port that is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The address that is meant, else all of the host's.
    pub(crate) address: Option<IpAddr>,
    /// 0 = any that is free.
    pub(crate) external: u16,
    pub(crate) internal: u16,
    /// IANA's number.
    pub(crate) protocol: u8,
}

const PROTOCOLS: [(&str, u8); 3] = [("tcp", 6), ("udp", 17), ("sctp", 132)];

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let known = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(protocol));
        let (_, protocol) = known.ok_or_else(|| format!("{protocol:?} is not tcp, udp or sctp"))?;
        let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a port"));
        let (rest, internal) = ports.rsplit_once(':').ok_or("expected EXTERNAL:INTERNAL")?;
        let (address, external) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, external)) => {
                let bare = address.trim_start_matches('[').trim_end_matches(']');
                (Some(bare.parse().map_err(|_| format!("{address:?} is not an address"))?), external)
            }
        };
        Ok(Self { address, external: number(external)?, internal: number(internal)?, protocol: *protocol })
    }
}

impl Port {
    /// As a port mapping policy of an endpoint.
    pub(crate) fn policy(&self) -> Policy {
        let mut settings = json!({
            "Protocol": self.protocol, "InternalPort": self.internal, "ExternalPort": self.external,
        });
        if let Some(address) = self.address {
            settings["VIP"] = json!(address);
        }
        Policy::of("PortMapping", &settings)
    }
}

/// The name of a protocol by its number.
pub(crate) fn protocol_name(number: &Value) -> String {
    let known = PROTOCOLS.iter().find(|(_, value)| number.as_u64() == Some((*value).into()));
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Port>();
        let port = |address: Option<&str>, external, internal, protocol| Port {
            address: address.map(|address| address.parse().unwrap()),
            external,
            internal,
            protocol,
        };
        assert_eq!(read("8080:80"), Ok(port(None, 8080, 80, 6)));
        assert_eq!(read("0:53/UDP"), Ok(port(None, 0, 53, 17)));
        assert_eq!(read("203.0.113.10:8080:80"), Ok(port(Some("203.0.113.10"), 8080, 80, 6)));
        assert_eq!(read("[2001:db8::1]:8080:80/tcp"), Ok(port(Some("2001:db8::1"), 8080, 80, 6)));
        for wrong in ["", "80", "a:80", "80:70000", "80:80/icmp", "here:80:80"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
