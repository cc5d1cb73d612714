//! The kernel objects that hcnd makes, each with the key that identifies it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// An EUI-48 address. Its text form here is Linux's: lower case, colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = ();

    /// Accepts six pairs of hex digits, separated by all colons or all dashes, in either case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0u8; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part =
                parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit())).ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        parts.next().is_none().then_some(Self(bytes)).ok_or(())
    }
}

impl From<Mac> for u64 {
    fn from(mac: Mac) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl From<u64> for Mac {
    /// Takes the low 48 bits.
    fn from(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A network namespace, seen from the daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Netns {
    /// The namespace that hcnd itself runs in.
    Host,
    /// The namespace whose file has this name in the netns folder (`/run/netns`).
    Named(String),
}

/// A link, by namespace and interface name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// The namespace that the link is in.
    pub netns: Netns,
    /// Its interface name, at most 15 bytes.
    pub name: String,
}

impl LinkId {
    /// A link of the host's own namespace.
    pub fn host(name: &str) -> Self {
        Self { netns: Netns::Host, name: name.to_owned() }
    }
}

/// A bridge's claim that the host forwards packets of one family. A claim each, and not one setting that all
/// share, so that no plan depends on another one that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The address family.
    pub family: Family,
    /// The bridge whose packets are to be forwarded.
    pub bridge: String,
}

/// A named network namespace whose loopback is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsFile {
    /// The file's name in the netns folder.
    pub name: String,
    /// Link alias of its loopback, at most 255 bytes, by which it is recognised.
    pub alias: String,
}

/// A bridge in the host's namespace, administratively up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Interface name.
    pub name: String,
    /// Link alias, at most 255 bytes.
    pub alias: String,
    /// Its own address, fixed so that it does not follow its ports.
    pub mac: Mac,
    /// Octets.
    pub mtu: u32,
    /// Whether the bridge takes part in IPv6 (otherwise it gets no link-local address).
    pub ipv6: bool,
}

/// A veth pair: the host end is a port of a bridge, the peer is an interface of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Name of the host end.
    pub name: String,
    /// Link alias of the host end, at most 255 bytes.
    pub alias: String,
    /// The bridge that the host end is a port of.
    pub bridge: String,
    /// Where the peer lives, and its name there.
    pub peer: LinkId,
    /// Address of the peer.
    pub mac: Mac,
    /// Octets, both ends.
    pub mtu: u32,
    /// Whether the peer takes part in IPv6 (otherwise it gets no link-local address).
    pub ipv6: bool,
}

/// An address of a link, usable at once (no duplicate address detection).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link that carries it.
    pub link: LinkId,
    /// Address and prefix length; the host bits are kept.
    pub address: IpNet,
    /// Whether the kernel adds the route to the address's own prefix.
    pub prefix_route: bool,
}

/// A unicast route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The link that packets leave by.
    pub link: LinkId,
    /// Destination prefix, host bits zero.
    pub destination: IpNet,
    /// Next hop; none = on link. A next hop outside the link's prefixes is taken as on link.
    pub gateway: Option<IpAddr>,
    /// Priority; lower wins.
    pub metric: u32,
}

/// Source translation for a prefix: its packets that leave by any other link than its bridge take the address
/// of that link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// Source prefix.
    pub prefix: IpNet,
    /// The bridge that the prefix lives on.
    pub bridge: String,
}

/// The resolver configuration of a named namespace (`/etc/netns/NAME/resolv.conf`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// The namespace's file name.
    pub netns: String,
    /// The whole file.
    pub contents: String,
}

/// One kernel object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// IP forwarding in the host's namespace. Taking a claim away leaves the host's setting alone: by then
    /// other programs may rely on it.
    Forwarding(Forwarding),
    /// A named network namespace.
    Netns(NetnsFile),
    /// A bridge.
    Bridge(Bridge),
    /// Source translation of a prefix.
    Masquerade(Masquerade),
    /// A veth pair.
    Veth(Veth),
    /// An address.
    Address(Address),
    /// A route.
    Route(Route),
    /// A resolver configuration.
    Resolver(Resolver),
}

/// What identifies an object. The order of the variants is the order in which objects are built; they are
/// taken down in the reverse order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Family and bridge.
    Forwarding(Family, String),
    /// File name.
    Netns(String),
    /// Interface name.
    Bridge(String),
    /// Source prefix.
    Masquerade(IpNet),
    /// Name of the host end.
    Veth(String),
    /// Link and address.
    Address(LinkId, IpAddr),
    /// Link, destination and metric.
    Route(LinkId, IpNet, u32),
    /// The namespace's file name.
    Resolver(String),
}

impl Object {
    /// The object's key.
    pub fn key(&self) -> Key {
        match self {
            Self::Forwarding(claim) => Key::Forwarding(claim.family, claim.bridge.clone()),
            Self::Netns(netns) => Key::Netns(netns.name.clone()),
            Self::Bridge(bridge) => Key::Bridge(bridge.name.clone()),
            Self::Masquerade(masquerade) => Key::Masquerade(masquerade.prefix),
            Self::Veth(veth) => Key::Veth(veth.name.clone()),
            Self::Address(address) => Key::Address(address.link.clone(), address.address.addr()),
            Self::Route(route) => Key::Route(route.link.clone(), route.destination, route.metric),
            Self::Resolver(resolver) => Key::Resolver(resolver.netns.clone()),
        }
    }

    /// Whether the object can become `to` (same key) in place, without being taken down.
    pub fn changes_in_place(&self, to: &Self) -> bool {
        match (self, to) {
            (Self::Bridge(a), Self::Bridge(b)) => a.ipv6 == b.ipv6,
            (Self::Veth(a), Self::Veth(b)) => a.bridge == b.bridge && a.peer == b.peer && a.ipv6 == b.ipv6,
            (Self::Resolver(_), Self::Resolver(_)) => true,
            _ => false,
        }
    }
}

/// A set of kernel objects, at most one per key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    objects: BTreeMap<Key, Object>,
    /// Which object provides which link.
    links: HashMap<LinkId, Key>,
}

impl State {
    /// No objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object, returning the one that had its key.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        let key = object.key();
        let before = self.remove(&key);
        for link in links_of(&object) {
            self.links.insert(link, key.clone());
        }
        self.objects.insert(key, object);
        before
    }

    /// Takes an object away.
    pub fn remove(&mut self, key: &Key) -> Option<Object> {
        let object = self.objects.remove(key)?;
        for link in links_of(&object) {
            if self.links.get(&link) == Some(key) {
                self.links.remove(&link);
            }
        }
        Some(object)
    }

    /// The object with this key.
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// All objects, in the order in which they are built.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Key, &Object)> {
        self.objects.iter()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The object that provides `link`: a bridge, or a veth pair of which it is either end.
    pub fn link_owner(&self, link: &LinkId) -> Option<Key> {
        self.links.get(link).cloned()
    }

    /// The objects that `object` cannot exist without. A part that the state does not hold is `None`.
    pub fn parents(&self, object: &Object) -> Vec<Option<Key>> {
        let present = |key: Key| self.objects.contains_key(&key).then_some(key);
        match object {
            Object::Veth(veth) => {
                let mut parents = vec![present(Key::Bridge(veth.bridge.clone()))];
                if let Netns::Named(name) = &veth.peer.netns {
                    parents.push(present(Key::Netns(name.clone())));
                }
                parents
            }
            Object::Address(address) => vec![self.link_owner(&address.link)],
            Object::Route(route) => vec![self.link_owner(&route.link)],
            Object::Resolver(resolver) => vec![present(Key::Netns(resolver.netns.clone()))],
            Object::Forwarding(_) | Object::Netns(_) | Object::Bridge(_) | Object::Masquerade(_) => {
                Vec::new()
            }
        }
    }
}

/// The links that an object provides.
fn links_of(object: &Object) -> Vec<LinkId> {
    match object {
        Object::Bridge(bridge) => vec![LinkId::host(&bridge.name)],
        Object::Veth(veth) => vec![LinkId::host(&veth.name), veth.peer.clone()],
        _ => Vec::new(),
    }
}

impl FromIterator<Object> for State {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut state = Self::new();
        for object in objects {
            state.insert(object);
        }
        state
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarding(Family::V4, bridge) => write!(f, "IPv4 forwarding for {bridge}"),
            Self::Forwarding(Family::V6, bridge) => write!(f, "IPv6 forwarding for {bridge}"),
            Self::Netns(name) => write!(f, "netns {name}"),
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Masquerade(prefix) => write!(f, "masquerade of {prefix}"),
            Self::Veth(name) => write!(f, "veth {name}"),
            Self::Address(link, address) => write!(f, "address {address} on {link}"),
            Self::Route(link, destination, _) => write!(f, "route to {destination} by {link}"),
            Self::Resolver(netns) => write!(f, "resolv.conf of netns {netns}"),
        }
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.netns {
            Netns::Host => f.write_str(&self.name),
            Netns::Named(netns) => write!(f, "{} in netns {netns}", self.name),
        }
    }
}
