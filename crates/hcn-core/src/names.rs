//! Names of kernel objects, derived from IDs.

use hcn_dataplane::Mac;
use hcn_schema::Guid;
use hcn_schema::call::Kind;

use crate::registry::Registry;

/// The longest link alias that the kernel takes, in bytes.
const ALIAS_LIMIT: usize = 255;

/// A free interface name: `prefix` and the first 8 hex digits of the ID; when another entity has that name
/// (IDs that were made by hand often begin alike), 8 hex digits of a hash instead.
pub(crate) fn link(registry: &Registry, prefix: &str, id: Guid) -> String {
    let first = format!("{prefix}{}", id.short());
    let hashed = (0u64..).map(|salt| format!("{prefix}{:08x}", hash(id, salt) >> 32));
    std::iter::once(first.clone()).chain(hashed).find(|name| !registry.link_is_used(name)).unwrap_or(first)
}

/// The name of an endpoint's own end where that is on the host, as free as the name of the other end, `veth`: whoever
/// has the one has the other.
pub(crate) fn host_peer(veth: &str) -> String {
    format!("hvp{}", veth.trim_start_matches("hve"))
}

/// The link alias by which an administrator, and a later start of the service, knows what a link is.
pub(crate) fn alias(kind: Kind, id: Guid, name: &str) -> String {
    let printable: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut alias = format!("hcn {kind} {id} {printable}").trim_end().to_owned();
    while alias.len() > ALIAS_LIMIT {
        alias.pop();
    }
    alias
}

/// The address of a network's bridge: locally administered, unicast, the same for the same ID.
pub(crate) fn bridge_mac(id: Guid) -> Mac {
    let [a, b, c, d, e, ..] = hash(id, u64::MAX).to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// The address of another one of its bridges.
pub(crate) fn shard_mac(id: Guid, number: u16) -> Mac {
    let [a, b, c, d, e, ..] = hash(id, u64::MAX - u64::from(number)).to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// An address for the router of an overlay network, of Hyper-V's range.
pub(crate) fn router_mac(id: Guid, salt: u64) -> Mac {
    let [a, b, c, ..] = hash(id, salt).to_be_bytes();
    Mac([0x00, 0x15, 0x5d, a, b, c])
}

/// An identifier for what is on a link of the host: the same for the same link.
pub(crate) fn layer(link: &str) -> Guid {
    let mut name = [0; 16];
    // Interface names have at most 15 octets.
    name.iter_mut().zip(link.bytes()).for_each(|(to, from)| *to = from);
    let name = Guid::from_bytes(name);
    Guid::random_from(hash(name, 0), hash(name, 1))
}

/// The name of a set of addresses of a network: readable, unique on the host, and what nft takes for a name.
pub(crate) fn address_set(bridge: &str, network: Guid, id: &str) -> String {
    let printable = id.chars().take(32).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let printable: String = printable.collect();
    let hash = hash_of(network.as_bytes().iter().copied().chain(id.bytes()));
    format!("{}_{printable}_{:08x}", bridge.replace('-', "_"), hash >> 32)
}

/// A hash of an ID and a salt.
pub(crate) fn hash(id: Guid, salt: u64) -> u64 {
    hash_of(id.as_bytes().iter().copied().chain(salt.to_le_bytes()))
}

/// FNV-1a, finished by a multiply-xorshift so that every bit depends on all input.
fn hash_of(bytes: impl Iterator<Item = u8>) -> u64 {
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_of_a_pair_on_the_host_have_names_alike() {
        assert_eq!(host_peer("hve00c0ffee"), "hvp00c0ffee");
    }

    #[test]
    fn an_alias_is_cut_at_a_character() {
        let id = "5F0B1190-63BE-4E0C-B974-BD0F55675A42".parse().unwrap();
        let long = alias(Kind::Network, id, &"ü".repeat(300));
        assert!(long.len() <= 255 && long.len() > 252, "{}", long.len());
        assert_eq!(alias(Kind::Endpoint, id, "a\nb\0"), format!("hcn endpoint {id} a b"));
    }
}
