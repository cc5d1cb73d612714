//! The way of a packet: each place that has a say, in the order in which the kernel comes to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hcn_dataplane::{
    Family, Filter, Frontend, HostFacts, Object, Protocol, Service, Site, Source, Tier, Verdict, Ways,
};
use hcn_schema::Guid;
use hcn_schema::call::Kind;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::RulesOf;
use super::matching::{self, Packet, Sets};
use crate::compile;
use crate::entity::{Endpoint, Entity, EntityKey, Network};
use crate::registry::Registry;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Fate {
    /// It gets there.
    Allow,
    /// It does not.
    Block,
    /// A proxy gets it, and sends what it likes.
    Redirect,
}

/// A place that had a say.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    /// What it is: Filter, LoadBalancer, OutBoundNAT …
    stage: &'static str,
    /// `endpoint ID`, `load balancer ID` …
    entity: String,
    /// The policy and its rule in HCN's terms.
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
    /// What it does with the packet.
    effect: String,
    /// The kernel object that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// Where its rules are, in the words of nft.
    #[serde(skip_serializing_if = "Option::is_none")]
    nft: Option<String>,
}

struct Walk<'a> {
    registry: &'a Registry,
    host: &'a HostFacts,
    rules_of: RulesOf,
    packet: Packet,
    steps: Vec<Step>,
    /// Where it was sent, if a load balancer or a port mapping led it elsewhere.
    sent_to: Option<Frontend>,
}

/// Stops the walk.
type Way = Result<(), Fate>;

/// The answer's document.
pub(super) fn walk(
    registry: &Registry,
    host: &HostFacts,
    rules_of: RulesOf,
    endpoint: &Arc<Endpoint>,
    packet: Packet,
    outgoing: bool,
) -> Value {
    let mut walk = Walk { registry, host, rules_of, packet, steps: Vec::new(), sent_to: None };
    let sender =
        if outgoing { Some(Arc::clone(endpoint)) } else { walk.owner(packet.source, endpoint.network) };
    let fate = walk.go(sender.as_ref()).err().unwrap_or(Fate::Allow);
    let by = walk.steps.last().map(|step| {
        let rule = if step.rule.is_empty() { step.stage } else { &step.rule };
        format!("{rule} of {}", step.entity)
    });
    json!({
        "Packet": shown(&packet),
        "Arrives": shown(&walk.packet),
        "Verdict": fate,
        "DecidedBy": by.unwrap_or_else(|| "nothing: what no policy is about passes".to_owned()),
        "Steps": walk.steps,
    })
}

fn shown(packet: &Packet) -> String {
    let protocol = match packet.protocol {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    };
    if packet.has_ports() {
        let [source, destination] =
            [(packet.source, packet.source_port), (packet.destination, packet.destination_port)]
                .map(|(address, port)| SocketAddr::new(address, port));
        return format!("{protocol} {source} -> {destination}");
    }
    format!("{protocol} {} -> {}", packet.source, packet.destination)
}

impl Walk<'_> {
    fn go(&mut self, sender: Option<&Arc<Endpoint>>) -> Way {
        let network = sender.and_then(|sender| self.registry.networks.get(sender.network)).cloned();
        if let Some(sender) = sender {
            self.attached(sender)?;
            self.leave_namespace(sender)?;
            self.divert(sender);
        }
        self.serve(network.as_ref())?;
        if let Some(sender) = sender {
            self.filter(sender, false, true)?;
        }
        let near = network.as_ref().map_or(Guid::ZERO, |network| network.meta.id);
        match self.owner(self.packet.destination, near) {
            Some(receiver) => {
                if let (Some(sender), Some(network)) = (sender, &network)
                    && receiver.network != sender.network
                    && self.steer(sender, network)
                {
                    return Ok(());
                }
                self.meet(sender, &receiver)?;
                self.attached(&receiver)?;
                self.filter(&receiver, true, true)?;
                self.preserve(&receiver);
                self.enter_namespace(&receiver)
            }
            None => {
                if let (Some(sender), Some(network)) = (sender, &network) {
                    self.leave_network(sender, network)?;
                }
                Ok(())
            }
        }
    }

    fn step(&mut self, stage: &'static str, entity: String, rule: &str, effect: impl Into<String>) {
        let (rule, effect) = (rule.to_owned(), effect.into());
        self.steps.push(Step { stage, entity, rule, effect, object: None, nft: None });
    }

    fn objects(&self, endpoint: &Arc<Endpoint>) -> Vec<Object> {
        compile::objects_of(self.registry, &Entity::Endpoint(Arc::clone(endpoint)))
    }

    /// The endpoint with an address: of this network, if it has one.
    fn owner(&self, address: IpAddr, near: Guid) -> Option<Arc<Endpoint>> {
        let has = |endpoint: &&Arc<Endpoint>| endpoint.addresses.iter().any(|own| own.addr() == address);
        let mut all = self.registry.endpoints.iter();
        let mut owners: Vec<&Arc<Endpoint>> = all.by_ref().filter(has).collect();
        owners.sort_by_key(|endpoint| (endpoint.network != near, endpoint.remote));
        owners.first().map(|endpoint| Arc::clone(endpoint))
    }

    fn attached(&mut self, endpoint: &Endpoint) -> Way {
        if endpoint.remote || endpoint.place().is_some() {
            return Ok(());
        }
        self.step("Attachment", named(endpoint), "", "dropped: the endpoint is attached to nothing");
        Err(Fate::Block)
    }

    /// Proxy and filter on the sender's own link.
    fn leave_namespace(&mut self, sender: &Arc<Endpoint>) -> Way {
        self.intercept(sender, true)?;
        self.filter(sender, false, false)
    }

    fn enter_namespace(&mut self, receiver: &Arc<Endpoint>) -> Way {
        self.filter(receiver, true, false)?;
        self.intercept(receiver, false)
    }

    fn intercept(&mut self, endpoint: &Arc<Endpoint>, outgoing: bool) -> Way {
        for object in self.objects(endpoint) {
            let Object::Interception(interception) = &object else { continue };
            let port =
                interception.rules.iter().find_map(|rule| matching::intercepts(rule, &self.packet, outgoing));
            if let Some(port) = port {
                let effect = format!("to the proxy on port {port} in the namespace");
                self.step("L4WFPPROXY", named(endpoint), "", effect);
                self.at(&object, !outgoing);
                return Err(Fate::Redirect);
            }
        }
        Ok(())
    }

    /// The filter of an endpoint for what it gets or sends: where the host carries it, or on its own link.
    fn filter(&mut self, endpoint: &Arc<Endpoint>, incoming: bool, on_host: bool) -> Way {
        for object in self.objects(endpoint) {
            let Object::Filter(filter) = &object else { continue };
            if on_host == matches!(filter.site, Site::Link(_)) {
                continue;
            }
            let sets = self.sets(endpoint);
            self.ask(endpoint, &object, tiers(filter, incoming), incoming, &sets)?;
        }
        Ok(())
    }

    fn ask(
        &mut self,
        endpoint: &Endpoint,
        object: &Object,
        tiers: &[Tier],
        incoming: bool,
        sets: &Sets,
    ) -> Way {
        let packet = self.packet;
        for rule in matching::asked(tiers, &packet, sets) {
            let effect = match rule.verdict {
                Verdict::Allow => "passes",
                Verdict::Next => "passes to the next list of rules",
                Verdict::Drop => "dropped",
            };
            self.step("Filter", named(endpoint), &rule.name, effect);
            self.at(object, incoming);
            if rule.verdict == Verdict::Drop {
                return Err(Fate::Block);
            }
        }
        Ok(())
    }

    fn sets(&self, endpoint: &Endpoint) -> Sets {
        let network = self.registry.networks.get(endpoint.network).cloned().map(Entity::Network);
        let objects = network.iter().flat_map(|network| compile::objects_of(self.registry, network));
        let sets = objects.filter_map(|object| match object {
            Object::AddressSet(set) => Some((set.name, set.members)),
            _ => None,
        });
        sets.collect()
    }

    /// A proxy that connections of the sender go to.
    fn divert(&mut self, sender: &Arc<Endpoint>) {
        for object in self.objects(sender) {
            let Object::Diversion(diversion) = &object else { continue };
            let packet = self.packet;
            let Some(rule) = diversion.rules.iter().find(|rule| matching::diverts(rule, &packet)) else {
                continue;
            };
            self.packet.destination = rule.proxy.ip();
            if packet.has_ports() {
                self.packet.destination_port = rule.proxy.port();
            }
            self.step("L4Proxy", named(sender), "", format!("to the proxy {}", rule.proxy));
            self.at(&object, false);
        }
    }

    /// Load balancers and port mappings.
    fn serve(&mut self, from: Option<&Arc<Network>>) -> Way {
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

    /// The destination that it was sent to, where the back end sees it.
    fn preserve(&mut self, receiver: &Arc<Endpoint>) {
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

    fn service(&self, from: Option<&Arc<Network>>) -> Option<(EntityKey, Service)> {
        let packet = &self.packet;
        let protocol = match packet.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            _ => return None,
        };
        let (family, port) = (Family::of(packet.destination), packet.destination_port);
        let of_host = self.host.addresses.iter().any(|own| own.address.addr() == packet.destination);
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
            let meant = service.only_from.is_empty()
                || from.is_some_and(|network| service.only_from.contains(&network.bridge));
            meant.then_some((key, service))
        })
    }

    /// Endpoints that exchange nothing with others.
    fn meet(&mut self, sender: Option<&Arc<Endpoint>>, receiver: &Arc<Endpoint>) -> Way {
        let Some(sender) = sender.filter(|sender| sender.meta.id != receiver.meta.id) else { return Ok(()) };
        if sender.network != receiver.network {
            let networks =
                [sender, receiver].map(|endpoint| self.registry.networks.get(endpoint.network).cloned());
            return networks.iter().flatten().try_for_each(|network| self.barrier(network));
        }
        for endpoint in [sender, receiver] {
            let isolated = compile::shards::is_isolated(endpoint) && !receiver.remote;
            if isolated {
                let effect = "dropped: it exchanges nothing with others of its network";
                self.step("DisableInterComputeCommunication", named(endpoint), "", effect);
                return Err(Fate::Block);
            }
        }
        Ok(())
    }

    /// A network that leads nowhere.
    fn barrier(&mut self, network: &Arc<Network>) -> Way {
        for object in compile::objects_of(self.registry, &Entity::Network(Arc::clone(network))) {
            let Object::Barrier(barrier) = &object else { continue };
            if barrier.bridge == network.bridge && barrier.ways == Ways::Closed {
                let effect = "dropped: packets are not forwarded to or from a network of this type";
                self.step(network.mode.name(), format!("network {}", network.meta.id), "", effect);
                self.at(&object, false);
                return Err(Fate::Block);
            }
        }
        Ok(())
    }

    /// What is beyond the network: it may lead nowhere, and packets may leave as somebody else's.
    fn leave_network(&mut self, sender: &Arc<Endpoint>, network: &Arc<Network>) -> Way {
        let of_host = self.host.addresses.iter().any(|own| own.address.addr() == self.packet.destination);
        if of_host || network.subnet_of(self.packet.destination).is_some() {
            return Ok(());
        }
        self.barrier(network)?;
        self.steer(sender, network);
        for object in self.objects(sender) {
            let Object::Outbound(outbound) = &object else { continue };
            let packet = self.packet;
            let found =
                outbound.rules.iter().find_map(|rule| Some((rule, matching::translates(rule, &packet)?)));
            let Some((rule, translated)) = found else { continue };
            let effect = match (translated, rule.source) {
                (true, Source::Address(address)) => {
                    self.packet.source = address;
                    format!("leaves as {address}")
                }
                (true, _) => "leaves as this host".to_owned(),
                (false, _) => "leaves with its own address: an exception".to_owned(),
            };
            self.step("OutBoundNAT", named(sender), "", effect);
            self.at(&object, false);
            return Ok(());
        }
        for object in compile::objects_of(self.registry, &Entity::Network(Arc::clone(network))) {
            if let Object::Masquerade(masquerade) = &object
                && masquerade.prefix.contains(&self.packet.source)
            {
                self.step("NAT", format!("network {}", network.meta.id), "", "leaves as this host");
                self.at(&object, false);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The one link that the packet may leave by, whatever the host has to say; whether there is one.
    fn steer(&mut self, sender: &Arc<Endpoint>, network: &Arc<Network>) -> bool {
        let of_network = compile::objects_of(self.registry, &Entity::Network(Arc::clone(network)));
        let own = self.objects(sender).into_iter().map(|object| (named(sender), object));
        let common = of_network.into_iter().map(|object| (format!("network {}", network.meta.id), object));
        let family = Family::of(self.packet.destination);
        let all: Vec<(String, Object)> = own.chain(common).collect();
        let found = all.iter().find_map(|(entity, object)| match object {
            Object::Steering(steering) if steering.family == family => Some((entity, object, steering)),
            _ => None,
        });
        let Some((entity, object, steering)) = found else { return false };
        let mut outside = steering.hops.iter().filter(|hop| hop.link != steering.bridge);
        let link = outside.next().map_or("nothing", |hop| hop.link.as_str());
        let effect = format!("leaves by {link} alone, and not while that is down");
        self.step("InterfaceConstraint", entity.clone(), "", effect);
        self.at(object, false);
        true
    }

    /// Notes which object the last step is of, and where its rules are.
    fn at(&mut self, object: &Object, incoming: bool) {
        if let Some(step) = self.steps.last_mut() {
            step.object = Some(object.key().to_string());
            step.nft = (self.rules_of)(object, incoming);
        }
    }
}

fn tiers(filter: &Filter, incoming: bool) -> &[Tier] {
    if incoming { &filter.incoming } else { &filter.outgoing }
}

fn named(endpoint: &Endpoint) -> String {
    let addresses: Vec<String> = endpoint.addresses.iter().map(IpNet::addr).map(|a| a.to_string()).collect();
    match endpoint.document.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("endpoint {} ({name})", endpoint.meta.id),
        None => format!("endpoint {} ({})", endpoint.meta.id, addresses.join(", ")),
    }
}
