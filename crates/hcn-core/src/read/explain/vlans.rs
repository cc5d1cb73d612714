//! What lies between the ends where a port, or a network, is in a VLAN.

use std::sync::Arc;

use hcn_dataplane::Object;

use super::barriers::of;
use super::ends::{End, Place};
use super::walk::{Fate, Walk, Way, named};
use crate::entity::{Endpoint, Junction};

/// The VLAN of all ports of which nothing is said, and of the bridge itself.
const FIRST: u16 = 1;

impl Walk<'_> {
    /// Endpoints exchange frames with those of their own VLAN alone; where an uplink is a port of the bridge, with those
    /// outside that tag them so.
    pub(super) fn tagged(&mut self, from: &End, to: &End) -> Way {
        self.network_tag(from, to, "leaves with the tag of");
        self.network_tag(to, from, "passes if it comes with the tag of");
        let together = matches!(
            (&from.place, &to.place),
            (Place::On(network), Place::On(other)) if network.meta.id == other.meta.id
        );
        if together && vlan_of(from).map(|(_, vlan)| vlan) == vlan_of(to).map(|(_, vlan)| vlan) {
            return Ok(());
        }
        self.port_tag(from, to, "leaves with the tag of")?;
        self.port_tag(to, from, "passes if it comes with the tag of")
    }

    /// Of a network that is in a VLAN of its uplink.
    fn network_tag(&mut self, end: &End, other: &End, effect: &str) {
        if let Place::On(network) = &end.place
            && let Some(Junction::Vlan { id, .. }) = &network.junction
            && other.place.network().is_none_or(|other| other.meta.id != network.meta.id)
        {
            self.step("VLAN", of(network), "", format!("{effect} VLAN {id}"));
        }
    }

    /// Of an endpoint that is in a VLAN, which the other end is not.
    fn port_tag(&mut self, end: &End, other: &End, effect: &str) -> Way {
        let Some((endpoint, vlan)) = vlan_of(end) else { return Ok(()) };
        let trunk = matches!(
            &end.place,
            Place::On(network) if matches!(network.junction, Some(Junction::Enslaved { .. }))
        );
        let passes = trunk && other.place == Place::Outside;
        let effect = if passes {
            format!("{effect} VLAN {vlan}")
        } else {
            format!("dropped: its port is in VLAN {vlan} alone")
        };
        self.step("VLAN", named(endpoint), "", effect);
        let port = self.objects(endpoint).into_iter().find(|o| matches!(o, Object::Veth(_) | Object::Tap(_)));
        if let Some(port) = port {
            self.at(&port, false);
        }
        if passes { Ok(()) } else { Err(Fate::Block) }
    }
}

/// The endpoint at an end, if its port is in another VLAN than the first.
fn vlan_of(end: &End) -> Option<(&Arc<Endpoint>, u16)> {
    let endpoint = end.endpoint.as_ref().filter(|_| matches!(end.place, Place::On(_)))?;
    endpoint.vlan.filter(|vlan| *vlan != FIRST).map(|vlan| (endpoint, vlan))
}
