//! DNS: names of endpoints are answered here, all others by the host's own servers (RFC 1035, RFC 5625).

mod message;
mod name;
mod upstream;
mod zone;

pub(crate) use message::{Header, Query, failure};
pub(crate) use name::Name;
pub(crate) use upstream::{Upstream, is_answer};
pub(crate) use zone::{Found, Zone};

/// Codes of answers (RFC 1035 section 4.1.1).
pub(crate) mod rcode {
    pub(crate) const FORMAT: u8 = 1;
    pub(crate) const FAILURE: u8 = 2;
    pub(crate) const NO_NAME: u8 = 3;
    pub(crate) const NOT_IMPLEMENTED: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
}
