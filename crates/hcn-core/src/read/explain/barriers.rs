//! What lies between the ends: networks that lead nowhere, what they and the host exchange, endpoints that exchange
//! nothing with others, and the one link that packets may leave by.

use std::net::IpAddr;
use std::sync::Arc;

use hcn_dataplane::{Barrier, Family, HostSide, Object, Ways};
use hcn_schema::enums::NetworkMode;

use super::ends::{End, Place};
use super::walk::{Fate, Led, Walk, Way, named};
use crate::compile;
use crate::entity::{Junction, Network};

impl Walk<'_> {
    /// From the one end to the other, which is outside where the packet may leave by one link alone.
    pub(super) fn cross(&mut self, from: &End, to: &mut End) -> Way {
        self.tagged(from, to)?;
        match (&from.place, &to.place) {
            (Place::On(network), Place::On(other)) if network.meta.id == other.meta.id => {
                self.meet(from, to)?;
                if network.mode == NetworkMode::L2Tunnel {
                    self.steer(from, network)?;
                }
            }
            (Place::On(network), Place::Host) => self.visit(network)?,
            (Place::Host, Place::On(network)) => self.call(network)?,
            (Place::On(network), place) => {
                let other = place.network();
                self.confine(network)?;
                if self.steer(from, network)? {
                    *to = End::outside();
                } else if let Some(other) = other {
                    self.admit(other, Some(network))?;
                }
            }
            (Place::Outside, Place::On(network)) => self.admit(network, None)?,
            (Place::Host | Place::Outside, _) => {}
        }
        Ok(())
    }

    /// Endpoints that exchange nothing with others. Those of other hosts are none to them.
    fn meet(&mut self, from: &End, to: &End) -> Way {
        let (Some(sender), Some(receiver)) = (&from.endpoint, &to.endpoint) else { return Ok(()) };
        if sender.meta.id == receiver.meta.id || sender.remote || receiver.remote {
            return Ok(());
        }
        for endpoint in [sender, receiver] {
            if compile::shards::is_isolated(endpoint) {
                let effect = "dropped: it exchanges nothing with others of its network";
                self.step("DisableInterComputeCommunication", named(endpoint), "", effect);
                return Err(Fate::Block);
            }
        }
        Ok(())
    }

    /// From a network to elsewhere.
    fn confine(&mut self, network: &Arc<Network>) -> Way {
        match self.barrier(network) {
            Some(barrier) if barrier.ways == Ways::Closed => self.dropped(network, barrier, FORWARDED),
            _ => Ok(()),
        }
    }

    /// From elsewhere, such as another network, to this one.
    fn admit(&mut self, network: &Arc<Network>, from: Option<&Arc<Network>>) -> Way {
        let Some(barrier) = self.barrier(network) else { return Ok(()) };
        match (&barrier.ways, from) {
            (Ways::Open, _) => Ok(()),
            (Ways::Closed, _) => self.dropped(network, barrier, FORWARDED),
            (Ways::Only(link), Some(other)) if *link != other.bridge => {
                let effect = format!("dropped: it comes by another link than {link}");
                self.dropped(network, barrier, &effect)
            }
            (Ways::Only(link), _) => {
                let effect = format!("passes if it comes by {link}");
                self.step("InterfaceConstraint", of(network), "", effect);
                self.at(&Object::Barrier(barrier), true);
                Ok(())
            }
        }
    }

    /// From a network to the host.
    fn visit(&mut self, network: &Arc<Network>) -> Way {
        self.apart(network, self.packet.destination)?;
        let Some(barrier) = self.barrier(network) else { return Ok(()) };
        let led = self.led != Led::Nowhere;
        match &barrier.host {
            HostSide::Open => Ok(()),
            // Where the host forwards nothing, nothing is led to it, either.
            HostSide::Closed if led && barrier.ways != Ways::Closed => Ok(()),
            HostSide::Only(doors) if led || doors.contains(&self.packet.destination) => Ok(()),
            HostSide::Closed => self.dropped(network, barrier, NO_HOST),
            HostSide::Only(_) => self.dropped(network, barrier, GATEWAY_ALONE),
        }
    }

    /// From the host to a network.
    fn call(&mut self, network: &Arc<Network>) -> Way {
        self.apart(network, self.packet.source)?;
        let Some(barrier) = self.barrier(network) else { return Ok(()) };
        match &barrier.host {
            HostSide::Open => Ok(()),
            HostSide::Closed if barrier.ways == Ways::Closed => self.dropped(network, barrier, NO_HOST),
            _ if self.led != Led::Nowhere => Ok(()),
            HostSide::Closed => self.dropped(network, barrier, NO_HOST),
            HostSide::Only(_) => self.dropped(network, barrier, GATEWAY_ALONE),
        }
    }

    /// Who stands on a link exchanges nothing with the host by it.
    fn apart(&mut self, network: &Arc<Network>, host: IpAddr) -> Way {
        let uplink = network.uplink.as_ref().filter(|_| network.sharing().is_some());
        let Some(uplink) = uplink else { return Ok(()) };
        let mut addresses = self.host.addresses.iter();
        if addresses.any(|own| own.address.addr() == host && own.link == uplink.link) {
            let effect = format!("dropped: the host exchanges nothing with what stands on {}", uplink.link);
            self.step(network.mode.name(), of(network), "", effect);
            return Err(Fate::Block);
        }
        Ok(())
    }

    /// What keeps a network's packets from elsewhere. What has a port of its own to the outside goes by that, whatever the
    /// host lets pass.
    fn barrier(&self, network: &Arc<Network>) -> Option<Barrier> {
        let by_host = matches!(network.junction, None | Some(Junction::Routed));
        let objects = if by_host { self.objects_of(network) } else { Vec::new() };
        objects.into_iter().find_map(|object| match object {
            Object::Barrier(barrier) if barrier.bridge == network.bridge => Some(barrier),
            _ => None,
        })
    }

    fn dropped(&mut self, network: &Arc<Network>, barrier: Barrier, effect: &str) -> Way {
        self.step(network.mode.name(), of(network), "", effect);
        self.at(&Object::Barrier(barrier), false);
        Err(Fate::Block)
    }

    /// The one link that the packet may leave by, whatever the host has to say; whether there is one.
    fn steer(&mut self, from: &End, network: &Arc<Network>) -> Result<bool, Fate> {
        let own = from.endpoint.iter().flat_map(|sender| {
            self.objects(sender).into_iter().map(|object| (named(sender), object)).collect::<Vec<_>>()
        });
        let common = self.objects_of(network).into_iter().map(|object| (of(network), object));
        let family = Family::of(self.packet.destination);
        let found = own.chain(common).find_map(|(entity, object)| match &object {
            Object::Steering(steering) if steering.family == family => {
                let mut ways = steering.hops.iter().filter(|hop| hop.link != steering.bridge);
                let way = ways.find(|hop| hop.destination.contains(&self.packet.destination));
                Some((entity, way.map(|hop| hop.link.clone()), object))
            }
            _ => None,
        });
        let Some((entity, link, object)) = found else { return Ok(false) };
        let stage = if network.mode == NetworkMode::L2Tunnel { "L2Tunnel" } else { "InterfaceConstraint" };
        let effect = match &link {
            Some(link) => format!("leaves by {link} alone, and not while that is down"),
            None => "dropped: no link that it may leave by leads there".to_owned(),
        };
        self.step(stage, entity, "", effect);
        self.at(&object, false);
        let Some(link) = link else { return Err(Fate::Block) };
        // Its network may be constrained to another one.
        if let Some(barrier) = self.barrier(network)
            && let Ways::Only(only) = &barrier.ways
            && *only != link
        {
            let effect = format!("dropped: what its network sends leaves by {only} alone");
            self.dropped(network, barrier, &effect)?;
        }
        Ok(true)
    }
}

const FORWARDED: &str = "dropped: packets are not forwarded to or from a network of this type";
const NO_HOST: &str = "dropped: the host is not on a network of this type";
const GATEWAY_ALONE: &str =
    "dropped: the host is the gateway of its endpoints alone, without policy HostRoute";

pub(super) fn of(network: &Network) -> String {
    format!("network {}", network.meta.id)
}
