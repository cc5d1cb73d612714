//! kube-proxy's winkernel proxier as a client of the service: what it lists in each sync, what it makes for services and
//! their pods, and what it reads back (contract 8.1).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde_json::{Value, json};

pub(super) type Outcome<T> = Result<T, String>;

/// What carries its calls.
pub(super) trait Calls {
    /// Makes one and waits for the reply's parameters.
    fn call(&mut self, method: &str, parameters: &Value) -> Outcome<Value>;

    /// Makes several of one method; the answers come in their order.
    fn all(&mut self, method: &str, parameters: &[Value]) -> Outcome<Vec<Value>>;
}

/// A service as its users know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) vip: IpAddr,
    /// 6 or 17.
    pub(super) protocol: u8,
    pub(super) port: u16,
    /// Where pods listen.
    pub(super) target: u16,
    pub(super) node_port: Option<u16>,
    pub(super) external: Vec<IpAddr>,
    pub(super) ingress: Vec<IpAddr>,
    /// Traffic from outside goes to pods of this node alone (externalTrafficPolicy).
    pub(super) local: bool,
    /// Annotation preserve-destination.
    pub(super) preserves_destination: bool,
    /// Session affinity ClientIP.
    pub(super) affinity: bool,
    /// Health checks of the addresses in `ingress` are answered by the root endpoint on this port.
    pub(super) health_port: Option<u16>,
    pub(super) pods: Vec<Pod>,
}

/// A pod that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) address: IpAddr,
    /// Whether it is on this node.
    pub(super) here: bool,
}

/// What kube-proxy is told about its node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Name of the network.
    pub(super) network: String,
    pub(super) address: String,
    pub(super) mac: String,
    pub(super) source_vip: String,
    /// Direct server return is on.
    pub(super) dsr: bool,
    /// Name of the endpoint that answers health checks.
    pub(super) root: String,
}

/// An endpoint as it is read back.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    here: bool,
    address: String,
}

/// What it has made for a service.
#[derive(Debug)]
struct Applied {
    service: Service,
    /// IDs, in the order of [`wanted`].
    balancers: Vec<String>,
    /// IDs of the endpoints of other hosts that it refers to, that of the virtual address among them.
    endpoints: Vec<String>,
}

/// The proxier.
pub(super) struct Proxier<C> {
    pub(super) calls: C,
    pub(super) node: Node,
    network: Network,
    applied: BTreeMap<String, Applied>,
    /// How many services refer to an endpoint of another host.
    references: HashMap<String, usize>,
    /// Load balancers that took over other back ends in place.
    pub(super) updates: usize,
}

#[derive(Clone, Debug, Default)]
struct Network {
    id: String,
    kind: String,
    /// Prefix and provider address.
    remote: Vec<(String, String)>,
}

impl<C: Calls> Proxier<C> {
    pub(super) fn new(calls: C, node: Node) -> Self {
        Self {
            calls,
            node,
            network: Network::default(),
            applied: BTreeMap::new(),
            references: HashMap::new(),
            updates: 0,
        }
    }

    /// What is made for a service: IDs of its load balancers.
    pub(super) fn balancers(&self, service: &str) -> &[String] {
        self.applied.get(service).map_or(&[], |applied| &applied.balancers)
    }

    fn is_overlay(&self) -> bool {
        self.network.kind.eq_ignore_ascii_case("Overlay")
    }

    /// One round: everything that is there is listed, and what differs from these services is changed.
    pub(super) fn sync(&mut self, services: &BTreeMap<String, Service>) -> Outcome<()> {
        let network = self.network_by_name()?;
        let same = network.id == self.network.id;
        if !same && !self.network.id.is_empty() {
            self.clean()?;
        }
        self.network = network;
        let gone: Vec<String> = self
            .applied
            .iter()
            .filter(|(name, applied)| {
                services.get(*name).is_none_or(|new| !only_pods_differ(&applied.service, new))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.withdraw(&name)?;
        }
        let source = self.endpoint_by_address()?;
        if source.is_none() && self.is_overlay() {
            let (address, mac) = (self.node.source_vip.clone(), self.node.mac.clone());
            self.create_endpoint(&address, &mac, None)?;
        }
        let mut endpoints = self.endpoints_of_network()?;
        let balancers = self.balancers_by_front_end()?;
        for (name, service) in services {
            if self.applied.get(name).is_none_or(|applied| applied.service != *service) {
                self.apply(name, service, &mut endpoints, &balancers)?;
            }
        }
        self.delete_unreferenced()
    }

    /// Makes or changes what stands for a service.
    fn apply(
        &mut self,
        name: &str,
        service: &Service,
        endpoints: &mut HashMap<String, Known>,
        balancers: &HashMap<String, (String, Vec<String>)>,
    ) -> Outcome<()> {
        let mut mine: Vec<String> = Vec::new();
        if self.is_overlay() {
            let mac = self.node.mac.clone();
            mine.push(self.remote(service.vip, &mac, endpoints)?.id);
        }
        let (mut all, mut here) = (Vec::new(), Vec::new());
        for pod in &service.pods {
            let found = endpoints.get(&pod.address.to_string()).cloned();
            let known = match found {
                Some(known) => known,
                None if pod.here => return Err(format!("the pod {} has no endpoint", pod.address)),
                None => self.remote(pod.address, &made_up_mac(pod.address), endpoints)?,
            };
            if !known.here {
                mine.push(known.id.clone());
            } else {
                here.push(known.id.clone());
            }
            all.push(known.id);
        }
        let root = match service.health_port {
            Some(_) => self.endpoint_by_name()?,
            None => String::new(),
        };
        let wanted = wanted(&self.node, self.is_overlay(), service, (&all, &here, &root));
        mine.iter().for_each(|id| *self.references.entry(id.clone()).or_default() += 1);
        let before = self.applied.remove(name);
        let mut ids = Vec::new();
        for (position, document) in wanted.iter().enumerate() {
            let present = before.as_ref().and_then(|before| before.balancers.get(position));
            ids.push(match present {
                Some(id) => {
                    self.calls
                        .call("io.hcn.LoadBalancer.Modify", &json!({"id": id, "settings": document}))?;
                    self.updates += 1;
                    self.read_back("LoadBalancer", id)?;
                    id.clone()
                }
                None => match balancers.get(&front_end(document)?) {
                    // One of an earlier run: its back ends are compared letter by letter.
                    Some((id, backends)) if document["HostComputeEndpoints"] == json!(backends) => id.clone(),
                    Some((id, _)) => {
                        let id = id.clone();
                        self.delete("LoadBalancer", &id)?;
                        self.create("LoadBalancer", &json!({"settings": document}))?
                    }
                    None => self.create("LoadBalancer", &json!({"settings": document}))?,
                },
            });
        }
        for id in before.iter().flat_map(|before| &before.endpoints) {
            self.release(id);
        }
        let applied = Applied { service: service.clone(), balancers: ids, endpoints: mine };
        self.applied.insert(name.to_owned(), applied);
        Ok(())
    }

    /// Load balancers go first, then the endpoints that nobody else refers to.
    fn withdraw(&mut self, name: &str) -> Outcome<()> {
        let Some(applied) = self.applied.remove(name) else { return Ok(()) };
        for id in &applied.balancers {
            self.delete("LoadBalancer", id)?;
        }
        applied.endpoints.iter().for_each(|id| self.release(id));
        Ok(())
    }

    /// The network is another one: nothing of before counts.
    fn clean(&mut self) -> Outcome<()> {
        let names: Vec<String> = self.applied.keys().cloned().collect();
        names.iter().try_for_each(|name| self.withdraw(name))?;
        self.references.clear();
        Ok(())
    }

    fn release(&mut self, endpoint: &str) {
        if let Some(count) = self.references.get_mut(endpoint) {
            *count -= 1;
        }
    }

    fn delete_unreferenced(&mut self) -> Outcome<()> {
        let unused: Vec<String> =
            self.references.iter().filter(|(_, count)| **count == 0).map(|(id, _)| id.clone()).collect();
        for id in unused {
            self.delete("Endpoint", &id)?;
            self.references.remove(&id);
        }
        Ok(())
    }

    /// An endpoint of another host with this address, made if there is none.
    fn remote(
        &mut self,
        address: IpAddr,
        mac: &str,
        endpoints: &mut HashMap<String, Known>,
    ) -> Outcome<Known> {
        let text = address.to_string();
        if let Some(known) = endpoints.get(&text) {
            return Ok(known.clone());
        }
        let provider = self.network.remote.iter().find(|(prefix, _)| contains(prefix, address));
        let provider = provider.map_or(&self.node.address, |(_, provider)| provider).clone();
        let known = self.create_endpoint(&text, mac, Some(&provider))?;
        endpoints.insert(text, known.clone());
        Ok(known)
    }

    /// `provider`: of another host's.
    fn create_endpoint(&mut self, address: &str, mac: &str, provider: Option<&str>) -> Outcome<Known> {
        // It asks for the network each time.
        let network = self.network_by_name()?;
        let mut settings = json!({
            "HostComputeNetwork": network.id, "IpConfigurations": [{"IpAddress": address}], "Dns": {},
            "MacAddress": mac, "Health": {"Extra": {}}, "SchemaVersion": {"Major": 2, "Minor": 0},
        });
        if let Some(provider) = provider {
            settings["Flags"] = json!(1);
            if self.is_overlay() {
                settings["Policies"] =
                    json!([{"Type": "ProviderAddress", "Settings": {"ProviderAddress": provider}}]);
            }
        }
        let id = self.create("Endpoint", &json!({"network_id": network.id, "settings": settings}))?;
        let document = self.read_back("Endpoint", &id)?;
        if !text(&document, "MacAddress")?.eq_ignore_ascii_case(mac) {
            return Err(format!("another MAC address came back: {document}"));
        }
        known(&document)?.into_iter().next().ok_or_else(|| format!("no address came back: {document}"))
    }

    fn network_by_name(&mut self) -> Outcome<Network> {
        let listed = self.list("Network", &json!({"Name": self.node.network}))?;
        let document = listed.first().ok_or("there is no such network")?;
        let policies = document["Policies"].as_array().cloned().unwrap_or_default();
        let routes = policies.iter().filter(|policy| policy["Type"] == "RemoteSubnetRoute").map(|policy| {
            let settings = &policy["Settings"];
            Ok((
                text(settings, "DestinationPrefix")?.to_owned(),
                text(settings, "ProviderAddress")?.to_owned(),
            ))
        });
        Ok(Network {
            id: text(document, "ID")?.to_owned(),
            kind: text(document, "Type")?.to_owned(),
            remote: routes.collect::<Outcome<_>>()?,
        })
    }

    /// The endpoint with the source address, among all there are.
    fn endpoint_by_address(&mut self) -> Outcome<Option<Known>> {
        let network = self.network_by_name()?;
        let listed = self.list("Endpoint", &json!({}))?;
        for document in listed {
            let of_network = text(&document, "HostComputeNetwork")?.eq_ignore_ascii_case(&network.id);
            let found = known(&document)?.into_iter().find(|known| known.address == self.node.source_vip);
            if of_network && found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn endpoint_by_name(&mut self) -> Outcome<String> {
        let listed = self.list("Endpoint", &json!({"Name": self.node.root}))?;
        Ok(text(listed.first().ok_or("there is no root endpoint")?, "ID")?.to_owned())
    }

    /// By address. One of this node goes before one of another.
    fn endpoints_of_network(&mut self) -> Outcome<HashMap<String, Known>> {
        let network = self.network_by_name()?;
        let mut found: HashMap<String, Known> = HashMap::new();
        for document in self.list("Endpoint", &json!({"VirtualNetwork": network.id}))? {
            for known in known(&document)? {
                if known.here || !found.contains_key(&known.address) {
                    found.insert(known.address.clone(), known);
                }
            }
        }
        Ok(found)
    }

    /// IDs and back ends.
    fn balancers_by_front_end(&mut self) -> Outcome<HashMap<String, (String, Vec<String>)>> {
        let mut found = HashMap::new();
        for document in self.list("LoadBalancer", &json!({}))? {
            let backends = document["HostComputeEndpoints"].as_array().into_iter().flatten();
            let backends = backends.filter_map(|id| id.as_str().map(str::to_owned)).collect();
            found.insert(front_end(&document)?, (text(&document, "ID")?.to_owned(), backends));
        }
        Ok(found)
    }

    /// Enumerates, and asks for each.
    fn list(&mut self, kind: &str, filter: &Value) -> Outcome<Vec<Value>> {
        let query = json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "Filter": filter.to_string()});
        let listed = self.calls.call(&format!("io.hcn.{kind}.Enumerate"), &json!({"query": query}))?;
        let ids = listed["ids"].as_array().ok_or("no list came back")?;
        let query = json!({"SchemaVersion": {"Major": 2, "Minor": 0}});
        let each: Vec<Value> = ids.iter().map(|id| json!({"id": id, "query": query})).collect();
        let answers = self.calls.all(&format!("io.hcn.{kind}.Query"), &each)?;
        Ok(answers.into_iter().map(|mut answer| answer["properties"].take()).collect())
    }

    fn create(&mut self, kind: &str, parameters: &Value) -> Outcome<String> {
        let made = self.calls.call(&format!("io.hcn.{kind}.Create"), parameters)?;
        let id = text(&made, "id")?.to_owned();
        self.calls.call(&format!("io.hcn.{kind}.Close"), &json!({"handle": made["handle"]}))?;
        Ok(id)
    }

    fn read_back(&mut self, kind: &str, id: &str) -> Outcome<Value> {
        let query = json!({"SchemaVersion": {"Major": 2, "Minor": 0}});
        let mut answer =
            self.calls.call(&format!("io.hcn.{kind}.Query"), &json!({"id": id, "query": query}))?;
        Ok(answer["properties"].take())
    }

    /// Looks it up first; what is not there is gone.
    fn delete(&mut self, kind: &str, id: &str) -> Outcome<()> {
        if self.list(kind, &json!({"ID": id}))?.is_empty() {
            return Ok(());
        }
        self.calls.call(&format!("io.hcn.{kind}.Delete"), &json!({"id": id})).map(drop)
    }
}

/// What can change in place.
fn only_pods_differ(old: &Service, new: &Service) -> bool {
    let same_pods = Service { pods: new.pods.clone(), ..old.clone() };
    same_pods == *new && !new.pods.is_empty() && old.pods.is_empty() == new.pods.is_empty()
}

/// The load balancers of a service: one for each virtual address, or for a port of the node.
fn wanted(
    node: &Node,
    overlay: bool,
    service: &Service,
    (all, here, root): (&[String], &[String], &str),
) -> Vec<Value> {
    let mut wanted = Vec::new();
    let ipv6 = if service.vip.is_ipv6() { 2 } else { 0 };
    let source = if overlay { &node.source_vip } else { &node.address };
    let mut balancer =
        |vip: Option<IpAddr>, ports: (u16, u16), backends: &[String], direct: bool, flags: u32| {
            if backends.is_empty() {
                return;
            }
            let mut mapping =
                json!({"Protocol": service.protocol, "InternalPort": ports.0, "ExternalPort": ports.1});
            if flags != 0 {
                mapping["Flags"] = json!(flags);
            }
            if service.affinity {
                mapping["DistributionType"] = json!(2);
            }
            let mut document = json!({
                "HostComputeEndpoints": backends, "SourceVIP": source, "PortMappings": [mapping],
                "SchemaVersion": {"Major": 2, "Minor": 0},
            });
            if let Some(vip) = vip {
                document["FrontendVIPs"] = json!([vip]);
            }
            let flags = ipv6 + u32::from(direct);
            if flags != 0 {
                document["Flags"] = json!(flags);
            }
            wanted.push(document);
        };
    let ports = (service.target, service.port);
    let from_outside = if service.local { here } else { all };
    let direct = node.dsr && service.local;
    balancer(Some(service.vip), ports, all, node.dsr, 0);
    if let Some(port) = service.node_port {
        balancer(None, (service.target, port), from_outside, direct, 2 + 16);
    }
    for address in &service.external {
        balancer(Some(*address), ports, from_outside, direct, 16);
    }
    for address in &service.ingress {
        let (direct, flags) = if service.preserves_destination { (true, 4 + 8 + 16) } else { (direct, 16) };
        balancer(Some(*address), ports, from_outside, direct, flags);
        if let Some(port) = service.health_port {
            balancer(Some(*address), (port, port), &[root.to_owned()], false, 0);
        }
    }
    wanted
}

/// By what it finds a load balancer again: it looks at the first mapping and the first virtual address, unchecked.
fn front_end(document: &Value) -> Outcome<String> {
    let mapping = document["PortMappings"].get(0).ok_or_else(|| format!("no port mapping: {document}"))?;
    let vip = document["FrontendVIPs"].get(0).and_then(Value::as_str).unwrap_or_default();
    Ok(format!("{vip} {} {} {}", mapping["Protocol"], mapping["InternalPort"], mapping["ExternalPort"]))
}

/// An endpoint for each of its addresses.
fn known(document: &Value) -> Outcome<Vec<Known>> {
    let id = text(document, "ID")?;
    let here = document["Flags"].as_u64().unwrap_or_default() & 1 == 0;
    let configs = document["IpConfigurations"].as_array().into_iter().flatten();
    let addresses = configs.map(|config| text(config, "IpAddress"));
    addresses.map(|address| Ok(Known { id: id.to_owned(), here, address: address?.to_owned() })).collect()
}

fn text<'a>(document: &'a Value, member: &str) -> Outcome<&'a str> {
    document[member].as_str().ok_or_else(|| format!("no {member} in {document}"))
}

/// `02-11` and the first octets of an IPv4 address, the last ones of an IPv6 one.
fn made_up_mac(address: IpAddr) -> String {
    let octets = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [d, c, b, a]
        }
    };
    octets.iter().fold("02-11".to_owned(), |mac, octet| format!("{mac}-{octet:02x}"))
}

fn contains(prefix: &str, address: IpAddr) -> bool {
    let Some((start, length)) = prefix.split_once('/') else { return false };
    let (Ok(start), Ok(length)) = (start.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    // Both at the high end.
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or_default();
    start.is_ipv4() == address.is_ipv4() && bits(start) & mask == bits(address) & mask
}
