//! The way of a packet: each place that has a say, in the order in which the kernel comes to it.

use std::net::SocketAddr;
use std::sync::Arc;

use hcn_dataplane::{Filter, Frontend, HostFacts, Object, Site, Source, Tier, Verdict};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::RulesOf;
use super::ends::{End, Place};
use super::matching::{self, Packet, Sets};
use crate::compile;
use crate::entity::{Endpoint, Entity, Network};
use crate::registry::Registry;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Fate {
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

pub(super) struct Walk<'a> {
    pub(super) registry: &'a Registry,
    pub(super) host: &'a HostFacts,
    rules_of: RulesOf,
    pub(super) packet: Packet,
    steps: Vec<Step>,
    /// Where it was sent, if a load balancer or a port mapping led it elsewhere.
    pub(super) sent_to: Option<Frontend>,
    pub(super) led: Led,
}

/// What has led the packet elsewhere than it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Led {
    Nowhere,
    /// To a proxy, which may see the host as the client.
    Diverted {
        masquerade: bool,
    },
    /// To a back end, which sees this.
    Served(Source),
}

/// Stops the walk.
pub(super) type Way = Result<(), Fate>;

/// The answer's document.
pub(super) fn walk(
    registry: &Registry,
    host: &HostFacts,
    rules_of: RulesOf,
    endpoint: &Arc<Endpoint>,
    packet: Packet,
    outgoing: bool,
) -> Value {
    let (steps, sent_to, led) = (Vec::new(), None, Led::Nowhere);
    let mut walk = Walk { registry, host, rules_of, packet, steps, sent_to, led };
    let from = if outgoing { walk.end_of(endpoint) } else { walk.end_at(packet.source, endpoint.network) };
    let fate = walk.go(&from, endpoint).err().unwrap_or(Fate::Allow);
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
    /// From one end to the other; one of the two is the endpoint that is asked about.
    fn go(&mut self, from: &End, asked: &Endpoint) -> Way {
        if let Some(sender) = &from.endpoint {
            self.attached(sender)?;
            // It does not leave the namespace.
            if sender.addresses.iter().any(|own| own.addr() == self.packet.destination) {
                return Ok(());
            }
            self.leave_namespace(sender)?;
            if from.place != Place::Host {
                self.divert(sender);
            }
        }
        if self.led == Led::Nowhere {
            self.serve(&from.place)?;
        }
        let mut to = self.end_at(self.packet.destination, asked.network);
        // What the host sends to itself meets no rules.
        if (&from.place, &to.place) == (&Place::Host, &Place::Host) {
            return Ok(());
        }
        if let Some(sender) = &from.endpoint {
            self.filter(sender, false, true)?;
        }
        self.cross(from, &mut to)?;
        if let Some(receiver) = &to.endpoint {
            self.attached(receiver)?;
            self.filter(receiver, true, true)?;
        }
        self.leave_as(from, &to);
        if let Some(receiver) = &to.endpoint {
            self.preserve(receiver);
            self.enter_namespace(receiver)?;
        }
        Ok(())
    }

    pub(super) fn step(
        &mut self,
        stage: &'static str,
        entity: String,
        rule: &str,
        effect: impl Into<String>,
    ) {
        let (rule, effect) = (rule.to_owned(), effect.into());
        self.steps.push(Step { stage, entity, rule, effect, object: None, nft: None });
    }

    pub(super) fn objects(&self, endpoint: &Arc<Endpoint>) -> Vec<Object> {
        compile::objects_of(self.registry, &Entity::Endpoint(Arc::clone(endpoint)))
    }

    pub(super) fn objects_of(&self, network: &Arc<Network>) -> Vec<Object> {
        compile::objects_of(self.registry, &Entity::Network(Arc::clone(network)))
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
        let network = self.registry.networks.get(endpoint.network);
        let objects = network.into_iter().flat_map(|network| self.objects_of(network));
        let sets = objects.filter_map(|object| match object {
            Object::AddressSet(set) => Some((set.name, set.members)),
            _ => None,
        });
        sets.collect()
    }

    /// Notes which object the last step is of, and where its rules are.
    pub(super) fn at(&mut self, object: &Object, incoming: bool) {
        if let Some(step) = self.steps.last_mut() {
            step.object = Some(object.key().to_string());
            step.nft = (self.rules_of)(object, incoming);
        }
    }
}

fn tiers(filter: &Filter, incoming: bool) -> &[Tier] {
    if incoming { &filter.incoming } else { &filter.outgoing }
}

pub(super) fn named(endpoint: &Endpoint) -> String {
    let addresses: Vec<String> = endpoint.addresses.iter().map(IpNet::addr).map(|a| a.to_string()).collect();
    match endpoint.document.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("endpoint {} ({name})", endpoint.meta.id),
        None => format!("endpoint {} ({})", endpoint.meta.id, addresses.join(", ")),
    }
}
