//! What the kernel says by netlink, and what nft prints: whatever comes, it is read or not, and nothing that was read
//! contradicts itself.

pub(crate) fn run(octets: &[u8]) {
    hcn_linux::fuzzing::datagram(octets);
    if let Ok(text) = std::str::from_utf8(octets) {
        hcn_linux::fuzzing::nft_listing(text);
    }
}
