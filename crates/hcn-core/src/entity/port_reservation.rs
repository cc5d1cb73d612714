//! The record of a port reservation.

use hcn_dataplane::{Family, Frontend, Protocol};
use hcn_schema::Guid;
use serde::{Deserialize, Serialize};

use super::Meta;

/// Ports that are kept from the host for a guest network service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReservation {
    /// Common part.
    pub meta: Meta,
    /// The guest network service that they were reserved through.
    pub service: Guid,
    /// Its virtual machine.
    pub machine: Guid,
    /// Transport protocols.
    pub protocols: Vec<Protocol>,
    /// Whether nobody else can reserve or publish them.
    pub exclusive: bool,
    /// The first port.
    pub first: u16,
    /// The last port, included.
    pub last: u16,
}

impl PortReservation {
    /// What nobody else can publish while it is reserved: an exclusive single port. Ranges are compared as ranges.
    pub fn frontends(&self) -> impl Iterator<Item = Frontend> {
        let single = self.exclusive && self.first == self.last;
        let protocols = self.protocols.iter().filter(move |_| single);
        protocols.flat_map(|protocol| {
            [Family::V4, Family::V6].map(|family| Frontend {
                family,
                address: None,
                protocol: *protocol,
                port: self.first,
            })
        })
    }
}
