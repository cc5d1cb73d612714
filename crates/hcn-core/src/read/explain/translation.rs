//! What leads packets elsewhere than they were sent to, and whose they arrive as.

use std::net::IpAddr;
use std::sync::Arc;

use hcn_dataplane::{Family, Frontend, Object, Outbound, OutboundRule, Protocol, Service, Site, Source};
use hcn_schema::call::Kind;
use ipnet::IpNet;

use super::barriers::of;
use super::ends::{End, Place};
use super::matching;
use super::walk::{Fate, Led, Walk, Way, named};
use crate::compile;
use crate::entity::{Endpoint, EntityKey, Network};

impl Walk<'_> {
    /// A proxy that connections of the sender go to.
    pub(super) fn divert(&mut self, sender: &Arc<Endpoint>) {
        let packet = self.packet;
        // None is meant for what asks many.
        if self.is_to_many(sender) {
            return;
        }
        for object in self.objects(sender) {
            let Object::Diversion(diversion) = &object else { continue };
            let Some(rule) = diversion.rules.iter().find(|rule| matching::diverts(rule, &packet)) else {
                continue;
            };
            self.packet.destination = rule.proxy.ip();
            if packet.has_ports() {
                self.packet.destination_port = rule.proxy.port();
            }
            self.led = Led::Diverted { masquerade: rule.masquerade };
            let network = self.registry.networks.get(sender.network);
            let beside = network.is_some_and(|network| network.subnet_of(rule.proxy.ip()).is_some());
            let hidden = (rule.masquerade || beside) && !self.is_hosts(rule.proxy.ip());
            let source = if hidden { ", as this host" } else { "" };
            self.step("L4Proxy", named(sender), "", format!("to the proxy {}{source}", rule.proxy));
            self.at(&object, false);
        }
    }

    fn is_to_many(&self, sender: &Endpoint) -> bool {
        let destination = self.packet.destination;
        let network = self.registry.networks.get(sender.network);
        let subnet = network.and_then(|network| network.subnet_of(destination));
        let all = |prefix: IpNet| prefix.addr().is_ipv4() && prefix.broadcast() == destination;
        destination.is_multicast()
            || destination == IpAddr::from([255; 4])
            || subnet.is_some_and(|subnet| all(subnet.prefix))
    }

    /// Load balancers and port mappings.
    pub(super) fn serve(&mut self, from: &Place) -> Way {
        let Some((key, service)) = self.service(from) else { return Ok(()) };
        let stage = if key.kind == Kind::LoadBalancer { "LoadBalancer" } else { "PortMapping" };
        let entity = format!("{} {}", key.kind, key.id);
        let rule = service.frontend.to_string();
        let Some(backend) = service.backends.first() else {
            self.step(stage, entity, &rule, "refused: it has no back ends");
            self.at(&Object::Service(service), false);
            return Err(Fate::Block);
        };
        self.sent_to = Some(Frontend { address: Some(self.packet.destination), ..service.frontend });
        self.led = Led::Served(service.source);
        (self.packet.destination, self.packet.destination_port) = (backend.ip(), backend.port());
        let count = service.backends.len();
        let effect = match (count, &service.affinity) {
            (1, _) => format!("to {backend}"),
            (_, None) => format!("to one of {count} back ends, such as {backend}"),
            (_, Some(_)) => {
                format!(
                    "to that of {count} back ends where the client went last, else to one such as {backend}"
                )
            }
        };
        let source = match service.source {
            Source::Client => String::new(),
            Source::Address(address) => format!(", as {address}"),
            Source::Masquerade => ", as this host".to_owned(),
        };
        self.step(stage, entity, &rule, effect + &source);
        self.at(&Object::Service(service), false);
        Ok(())
    }

    fn service(&self, from: &Place) -> Option<(EntityKey, Service)> {
        let packet = &self.packet;
        let protocol = match packet.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            _ => return None,
        };
        // What stands on the uplink does not send by the host.
        if from.network().is_some_and(|network| network.sharing().is_some()) {
            return None;
        }
        let (family, port) = (Family::of(packet.destination), packet.destination_port);
        let of_host = !packet.destination.is_loopback() && self.is_hosts(packet.destination);
        let frontends = [Some(packet.destination), None]
            .map(|address| Frontend { family, address, protocol, port })
            .into_iter()
            .filter(|frontend| frontend.address.is_some() || of_host);
        frontends.into_iter().find_map(|frontend| {
            let key = self.registry.publisher_of(&frontend)?;
            let objects = compile::objects_of(self.registry, &self.registry.get(key)?);
            let service = objects.into_iter().find_map(|object| match object {
                Object::Service(service) if service.frontend == frontend => Some(service),
                _ => None,
            })?;
            let only_from = &service.only_from;
            let meant = match from {
                Place::Host => service.from_host,
                Place::On(network) => only_from.is_empty() || only_from.contains(&network.bridge),
                Place::Outside => only_from.is_empty(),
            };
            meant.then_some((key, service))
        })
    }

    /// The destination that it was sent to, where the back end sees it.
    pub(super) fn preserve(&mut self, receiver: &Arc<Endpoint>) {
        let Some(Frontend { address: Some(address), protocol, port, .. }) = self.sent_to else { return };
        for object in self.objects(receiver) {
            let Object::Preserved(preserved) = &object else { continue };
            let wanted = (address, protocol, port, self.packet.destination);
            let mut fronts = preserved.fronts.iter();
            if fronts.any(|front| (front.address, front.protocol, front.port, front.backend) == wanted) {
                self.packet.destination = address;
                self.step("PreserveDIP", named(receiver), "", format!("arrives as sent to {address}"));
                self.at(&object, true);
            }
        }
    }

    /// Whose packets they are when they leave the host, or go back onto their bridge.
    pub(super) fn leave_as(&mut self, from: &End, to: &End) {
        let onto = match &to.place {
            Place::On(network) => Some(network),
            Place::Outside => None,
            Place::Host => return,
        };
        // Where its own prefix lives.
        let stays = onto.is_some_and(|network| network.subnet_of(self.packet.source).is_some());
        match self.led {
            Led::Diverted { masquerade } if masquerade || stays => return self.hide(onto),
            Led::Served(Source::Masquerade) => return self.hide(onto),
            Led::Served(Source::Address(address)) => {
                self.packet.source = address;
                return;
            }
            // It would be answered past the host.
            Led::Served(Source::Client) if stays => return self.hide(onto),
            Led::Served(Source::Client) | Led::Diverted { .. } | Led::Nowhere => {}
        }
        if let (Some(sender), false) = (&from.endpoint, matches!(self.led, Led::Served(_)))
            && self.leaves_by_policy(sender, onto)
        {
            return;
        }
        let sender = from.endpoint.as_ref().and_then(|sender| self.registry.networks.get(sender.network));
        let Some(network) = from.place.network().or(sender).filter(|_| !stays).cloned() else { return };
        for object in self.objects_of(&network) {
            if let Object::Masquerade(masquerade) = &object
                && masquerade.prefix.contains(&self.packet.source)
            {
                self.hide(onto);
                self.step("NAT", of(&network), "", "leaves as this host");
                self.at(&object, false);
                return;
            }
        }
    }

    /// What the sender's own policies say; whether they say anything.
    fn leaves_by_policy(&mut self, sender: &Arc<Endpoint>, onto: Option<&Arc<Network>>) -> bool {
        let packet = self.packet;
        for object in self.objects(sender) {
            let Object::Outbound(outbound) = &object else { continue };
            let back = onto.is_some_and(|network| network.bridge == outbound.bridge);
            let about = |rule: &OutboundRule| {
                // Whoever names no destinations means what leaves the network.
                matching::translates(rule, &packet)
                    .filter(|translated| !(*translated && back && rule.destinations.is_empty()))
            };
            let Outbound { rules, .. } = outbound;
            let found = rules.iter().find_map(|rule| Some((rule.source, about(rule)?)));
            let Some((source, translated)) = found else { continue };
            if onto.is_some_and(|network| back && self.only_bridges(network)) {
                return false;
            }
            let effect = match (translated, source) {
                (true, Source::Address(address)) => {
                    self.packet.source = address;
                    format!("leaves as {address}")
                }
                (true, _) => {
                    self.hide(onto);
                    "leaves as this host".to_owned()
                }
                (false, _) => "leaves with its own address: an exception".to_owned(),
            };
            self.step("OutBoundNAT", named(sender), "", effect);
            self.at(&object, false);
            return true;
        }
        false
    }

    /// The source is the host's address on a network; outside it is that of a link that is not known here.
    fn hide(&mut self, onto: Option<&Arc<Network>>) {
        let subnet = onto.and_then(|network| network.subnet_of(self.packet.destination));
        if let Some(gateway) = subnet.and_then(|subnet| subnet.gateway) {
            self.packet.source = gateway;
        }
    }

    /// Whether a packet that goes back onto its network stays among the ports of the bridge, where no rule sees it: with
    /// filters and proxies the bridge shows its frames, and where the host wants it all do.
    fn only_bridges(&self, onto: &Network) -> bool {
        let subnet_of = |address| onto.subnet_of(address).map(|subnet| subnet.id);
        let neighbours = subnet_of(self.packet.source) == subnet_of(self.packet.destination)
            && compile::is_on_link(onto, IpNet::from(self.packet.destination));
        let shows = |object: &Object| match object {
            Object::Filter(filter) => matches!(filter.site, Site::Bridge(_) | Site::Host(_)),
            Object::Diversion(_) => true,
            _ => false,
        };
        let [v4, v6] = self.host.shows_frames;
        let shown = if self.packet.source.is_ipv4() { v4 } else { v6 };
        let mut all = self.registry.endpoints_of(onto.meta.id);
        !shown
            && self.led == Led::Nowhere
            && neighbours
            && !all.any(|endpoint| self.objects(endpoint).iter().any(shows))
    }
}
