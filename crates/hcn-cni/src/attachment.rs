//! Which entities of hcnd are an attachment's? Their IDs follow from its names, and their documents tell whose they are,
//! so that nothing has to be kept elsewhere.

use hcn_client::Guid;
use serde_json::{Value, json};

/// Owner of what the plugin makes.
pub(crate) const OWNER: &str = "hcn-cni";

/// FNV-1a of 128 bits.
const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The ID of the endpoint of an attachment.
pub(crate) fn endpoint_id(network: &str, container: &str, interface: &str) -> Guid {
    guid(&["endpoint", network, container, interface])
}

/// The ID of the namespace that a network namespace is for hcnd, by its inode, which stays its own as long as hcnd knows
/// it. So all interfaces of a container share one.
pub(crate) fn namespace_id(device: u64, inode: u64) -> Guid {
    guid(&["namespace", &device.to_string(), &inode.to_string()])
}

/// What the document of an endpoint says of its attachment.
pub(crate) fn record(network: &str, container: &str, interface: &str) -> Value {
    json!({"Network": network, "ContainerId": container, "IfName": interface})
}

/// The network of the attachment that an endpoint's document is about.
pub(crate) fn network_of(endpoint: &Value) -> Option<&str> {
    endpoint["AdditionalParams"]["Cni"]["Network"].as_str()
}

/// A GUID of the parts' own (RFC 9562, version 8). No part contains a NUL.
fn guid(parts: &[&str]) -> Guid {
    let octets = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = octets.fold(BASIS, |hash, octet| (hash ^ u128::from(octet)).wrapping_mul(PRIME));
    // The low bits differ most, and names of links are made of the first ones.
    let mut bytes = hash.to_le_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Guid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn attachments_have_ids_of_their_own_that_never_change() {
        let id = endpoint_id("lab", "box", "eth0");
        assert_eq!(id.to_string(), "49A29AF0-CE80-8D7C-9225-42EB3F92E234");
        let mut ids = HashSet::from([id]);
        for (network, container, interface) in
            [("lab", "box", "eth1"), ("lab", "boxe", "th0"), ("labb", "ox", "eth0"), ("lab2", "box", "eth0")]
        {
            assert!(ids.insert(endpoint_id(network, container, interface)));
        }
        assert!(
            ids.insert(namespace_id(4, 1))
                && ids.insert(namespace_id(41, 1))
                && ids.insert(namespace_id(4, 11))
        );
        let starts: HashSet<String> = ids.iter().map(|id| id.to_string()[..8].to_owned()).collect();
        assert_eq!(starts.len(), ids.len());
    }
}
