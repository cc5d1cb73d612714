//! Which VLANs the ports of bridges are in, where a bridge tells them apart (IEEE 802.1Q).

use std::collections::{HashMap, HashSet};
use std::io;

use crate::link::{self, FIRST_VLAN, GROUP, LinkFacts, PortWord};
use crate::socket::{Socket, Wire};

/// The VLANs of ports' untagged frames.
#[derive(Debug, Default)]
pub(crate) struct Vlans {
    /// Those of hcnd's bridges that filter by VLAN, by index.
    filtering: HashSet<u32>,
    /// By the index of the port.
    ports: HashMap<u32, u16>,
}

impl Vlans {
    /// Reads those of a host with these links. Where none of hcnd's bridges filters by VLAN nothing is asked.
    pub(crate) fn read<'a>(
        wire: &mut Wire,
        host: &Socket,
        links: impl Iterator<Item = &'a LinkFacts>,
    ) -> io::Result<Self> {
        let own = links.filter(|facts| facts.group == GROUP && facts.filters_vlans);
        let filtering: HashSet<u32> = own.map(|facts| facts.index).collect();
        if filtering.is_empty() {
            return Ok(Self::default());
        }
        let words = wire.dump(host, &link::get_ports())?;
        let words = words.iter().filter_map(|payload| PortWord::read(payload));
        Ok(Self { filtering, ports: words.filter_map(|word| Some((word.index, word.vlan?))).collect() })
    }

    /// The VLAN of an endpoint whose port this is: `wanted`, if the port is where that says. A port of which nothing is
    /// said is in the first VLAN, with all others of its kind.
    pub(crate) fn of(&self, port: &LinkFacts, wanted: Option<u16>) -> Option<u16> {
        let filters = port.master.is_some_and(|bridge| self.filtering.contains(&bridge));
        let found = self.ports.get(&port.index).copied().filter(|_| filters);
        let is_so = filters && found == Some(wanted.unwrap_or(FIRST_VLAN));
        if is_so { wanted } else { found }
    }
}
