//! What clients on bridges send: a DHCP or a DNS message, by the first octet.

pub(crate) fn run(octets: &[u8]) {
    let Some((which, message)) = octets.split_first() else { return };
    if which & 1 == 0 {
        hcn_responder::fuzzing::dhcp(message);
    } else {
        hcn_responder::fuzzing::dns(message);
    }
}
