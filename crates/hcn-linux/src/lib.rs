//! The Linux data plane: the only crate that touches the kernel.
//!
//! [`Linux`] carries out the plans of `hcn-dataplane` by netlink, nftables and a few files. How a plan becomes
//! messages is in `executor`; what each message says is in `link`, `address`, `route` and `nft`; what is asked
//! of the host besides is in `facts`. What an earlier run left is taken over by `adopt`. Links that are removed are only set aside until the removal is settled;
//! then `reaper` deletes them, since deleting takes the kernel 15-30 ms.

mod address;
mod adopt;
mod announce;
mod aside;
mod attributes;
mod conntrack;
mod counters;
mod doctor;
mod drift;
mod era;
mod error;
mod executor;
mod facts;
mod features;
#[doc(hidden)]
pub mod fuzzing;
mod hooks;
mod known;
mod link;
mod moving;
mod neighbour;
mod neighbours;
mod netns;
mod nft;
mod observe;
mod passed;
mod peer;
mod ports;
mod proxy;
mod reaper;
pub mod render;
mod reserved;
mod resolver;
mod route;
mod shaping;
mod socket;
mod stack;
mod steering;
mod sysctl;
mod tun;
mod vlans;
mod watch;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use hcn_dataplane::{
    Applied, ApplyError, Counters, Dataplane, FdbEntry, HeldPort, HostFacts, Interception, Joint, Key,
    LinkId, Neighbour, Netns, NetnsFacts, Notice, Notify, Object, Op, OpError, Plan, Scope, State, UndoError,
};
use hcn_responder::Responders;
use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use doctor::{SurveyConfig, survey, survey_links};
pub use era::{Era, era};
pub use error::StartError;
pub use features::{Feature, Features, features};
pub use nft::rules_of;
pub use passed::passed_listener;
pub use peer::peer_groups;
#[doc(hidden)]
pub use tun::open_tap;

use executor::Place;
use reaper::{Reaper, Released};
use socket::{Socket, Wire};
use stack::Stacks;

/// Lists the host's own name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where the data plane keeps its files.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of named network namespaces; made a shared mount as `ip netns` does.
    pub netns_dir: PathBuf,
    /// Folder of per-namespace configuration (`NAME/resolv.conf`).
    pub netns_etc: PathBuf,
}

impl Default for Config {
    /// The folders that `ip netns` uses.
    fn default() -> Self {
        Self { netns_dir: PathBuf::from("/run/netns"), netns_etc: PathBuf::from("/etc/netns") }
    }
}

/// The kernel of this machine, seen from the network namespace that it was started in.
///
/// Dropping it deletes what was settled and leaves everything else as it is.
pub struct Linux {
    /// Held as long as this data plane lives.
    _only: UnixListener,
    wire: Wire,
    host: Socket,
    nft: Socket,
    conntrack: conntrack::Conntrack,
    /// For announcements of endpoints in the host's own namespace.
    packets: announce::PacketSocket,
    owners: announce::Owners,
    folder: netns::Folder,
    /// Changes rules inside of namespaces.
    aside: aside::Aside,
    /// Opens paths that documents name.
    paths: aside::Paths<netns::Opened>,
    netns_etc: PathBuf,
    ipv6: bool,
    namespaces: HashMap<String, netns::Handle>,
    /// Indexes of links, so that no name is looked up twice.
    links: known::Known,
    /// What can be reached on link, to tell which gateways cannot.
    prefixes: HashMap<LinkId, Vec<IpNet>>,
    /// What was removed and not settled yet; of each object the oldest first.
    retired: HashMap<Key, VecDeque<Retired>>,
    /// Links that were set aside and may still hold their names.
    limbo: Vec<Limbo>,
    /// Ports that no program of the host may listen on.
    ports: HashMap<HeldPort, ports::Held>,
    /// Ports that the kernel does not choose.
    reserved: reserved::Reserved,
    /// Addresses that are claimed, by link, with who counts on them.
    claims: HashMap<(LinkId, IpAddr), Claimed>,
    /// Tables are to be owned where they can be.
    may_own_tables: bool,
    /// Tables can be owned and outlive their owner.
    owns_tables: bool,
    /// What could not be brought back, or not wholly: what of it is there already is right.
    half_back: HashSet<Key>,
    /// How many filters there are.
    filtering: executor::Filtering,
    /// Ports that exchange nothing with others.
    isolated: HashSet<String>,
    /// Who has a part in the table of endpoints' own translations.
    translated: HashSet<Key>,
    /// What is intercepted in namespaces.
    intercepted: BTreeMap<LinkId, Interception>,
    /// Ports that send in their own name only.
    guarded: HashSet<String>,
    /// Ports whose packets have the destination that they were sent to.
    preserving: HashSet<String>,
    /// What joins a bridge to another one, of those that are.
    joined: HashMap<String, Joint>,
    /// Where VXLAN links send frames.
    ways: Stacks<executor::WayKey, FdbEntry>,
    /// Neighbours that the host does not ask for.
    neighbours: Stacks<executor::NeighbourKey, Neighbour>,
    /// Neighbours that the host speaks for, by link, with who counts on it.
    proxied: HashMap<(String, IpAddr), Claimed>,
    /// The links on which it answers for them.
    answering: sysctl::Answering,
    /// Who needs the host to forward.
    forwarding: sysctl::Forwarders,
    /// Makes the names of retired links.
    sequence: u64,
    reaper: Reaper,
    /// What answers on bridges.
    responders: Responders,
    /// Looks after routing tables of bridges.
    watch: watch::Watch,
    /// Hears of what others change.
    listener: Option<drift::Listener>,
}

/// Keeps a second hcnd out of this network namespace, since it would take this one's links for leftovers. Names of
/// abstract sockets belong to the network namespace and go with the process, so nothing can be left behind.
fn claim_namespace() -> Result<UnixListener, StartError> {
    let bound =
        SocketAddr::from_abstract_name("hcnd/dataplane").and_then(|name| UnixListener::bind_addr(&name));
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::AnotherRuns,
        _ => StartError::System { step: "claim the network namespace".to_owned(), source: error },
    })
}

/// Something that is removed but could still be brought back.
enum Retired {
    /// A bridge, or the host end and the peer of a veth pair.
    Link {
        index: u32,
        peer: Option<(Place, u32)>,
        /// Part of it was gone already when it was removed.
        incomplete: bool,
    },
    /// An interface of a namespace that stands on a link of the host.
    Inside { place: Place, index: u32 },
    /// A namespace without a name.
    Netns(netns::Handle),
    /// A port, held until no one can want it back.
    Port(ports::Held),
    /// A claim that had so many others below it.
    Claim(usize),
    /// It was gone already.
    Nothing,
}

/// A veth pair that was set aside. Renaming a link takes the kernel as long as setting it down, and is needed only
/// if its name is wanted again before the reaper has deleted it: so that is when it is done.
struct Limbo {
    /// Index of the host end.
    host: u32,
    /// The ends that have their names still, with their indexes.
    held: Vec<(LinkId, u32)>,
}

/// An address that is claimed.
#[derive(Debug)]
struct Claimed {
    /// How many claims there are.
    count: usize,
    /// It is there for the claims, and goes with the last of them.
    added: bool,
}

impl Linux {
    /// Opens the sockets and makes the namespace folder, in the namespaces that the calling thread is in. Nothing else
    /// is changed before [`adopt`](Dataplane::adopt). All later calls must come from one thread; that thread visits
    /// other network namespaces and always returns.
    ///
    /// # Errors
    /// Missing capabilities or kernel features, or another hcnd that runs here.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let system = |step: &str| {
            let step = step.to_owned();
            move |source: io::Error| StartError::System { step, source }
        };
        // Two descriptors for each namespace; without this, 500 namespaces would be all. A refusal costs nothing.
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
        let only = claim_namespace()?;
        let open = || Socket::open(NETLINK_ROUTE);
        let mut wire = Wire::new();
        let host = open().map_err(system("open a route socket"))?;
        let nft = nft::start(&mut wire)?;
        let conntrack = conntrack::Conntrack::open()
            .map_err(system("open a connection tracking socket (CONFIG_NF_CT_NETLINK)"))?;
        let packets =
            announce::PacketSocket::open().map_err(system("open a packet socket (CONFIG_PACKET)"))?;
        let folder = netns::Folder::open(&config.netns_dir)
            .map_err(system(&format!("make {} a shared mount", config.netns_dir.display())))?;
        let reaper =
            open().and_then(Reaper::start).map_err(system("start the thread that deletes released links"))?;
        Ok(Self {
            _only: only,
            wire,
            host,
            nft,
            conntrack,
            packets,
            owners: announce::Owners::default(),
            folder,
            aside: aside::Aside::default(),
            paths: aside::Paths::default(),
            netns_etc: config.netns_etc,
            ipv6: sysctl::has_ipv6(),
            namespaces: HashMap::new(),
            links: known::Known::default(),
            prefixes: HashMap::new(),
            retired: HashMap::new(),
            limbo: Vec::new(),
            ports: HashMap::new(),
            claims: HashMap::new(),
            ways: Stacks::default(),
            neighbours: Stacks::default(),
            may_own_tables: true,
            owns_tables: false,
            half_back: HashSet::new(),
            filtering: executor::Filtering::default(),
            isolated: HashSet::new(),
            translated: HashSet::new(),
            intercepted: BTreeMap::new(),
            guarded: HashSet::new(),
            preserving: HashSet::new(),
            joined: HashMap::new(),
            proxied: HashMap::new(),
            answering: sysctl::Answering::default(),
            forwarding: sysctl::Forwarders::default(),
            reserved: reserved::Reserved::default(),
            // 5 to 7 digits of base 36: retired names of an earlier process are not met again.
            sequence: reaper::random() & 0xf_ffff_ffff,
            reaper,
            responders: Responders::new(Path::new(RESOLV_CONF)),
            watch: watch::Watch::default(),
            listener: None,
        })
    }

    /// What is at a path, or has this name in the netns folder.
    fn look_at(&mut self, place: &str) -> io::Result<NetnsFacts> {
        let handle = self.folder.look(&mut self.paths, place)?;
        let own = self.folder.is_own(&handle)?;
        let links = observe::links(&mut self.wire, &handle.socket)?;
        let identity = handle.identity()?;
        let known_as = self.namespace_of(identity);
        // A name that a link that was set aside still holds is free for whoever wants it.
        let place = known_as.clone().map(Netns::Named);
        let is_held = |name: &str, facts: &link::LinkFacts| {
            let mut held = self.limbo.iter().flat_map(|limbo| &limbo.held);
            held.any(|(held, index)| {
                Some(&held.netns) == place.as_ref() && held.name == name && *index == facts.index
            })
        };
        let links = links.iter().filter(|(name, facts)| !is_held(name, facts));
        let links = links.map(|(name, _)| name.clone()).collect();
        Ok(NetnsFacts { inode: identity.1, own, known_as, links, problem: None })
    }

    /// The name of one of hcnd's namespaces, by what identifies it.
    pub(crate) fn namespace_of(&self, identity: (u64, u64)) -> Option<String> {
        let same = |handle: &netns::Handle| handle.identity().is_ok_and(|other| other == identity);
        self.namespaces.iter().find(|(_, handle)| same(handle)).map(|(name, _)| name.clone())
    }

    fn settle_op(&mut self, op: &Op) {
        match op {
            Op::Create(Object::Forwarding(claim)) => self.forwarding.settle(claim),
            Op::Remove { object: Object::Claim(claim), .. } => {
                let key = (claim.link.clone(), claim.address);
                if self.claims.get(&key).is_some_and(|claimed| claimed.count == 0) {
                    self.claims.remove(&key);
                }
            }
            Op::Remove {
                object:
                    Object::Netns(_)
                    | Object::Bridge(_)
                    | Object::Veth(_)
                    | Object::Joint(_)
                    | Object::Sublink(_)
                    | Object::Tap(_)
                    | Object::Shaper(_)
                    | Object::FdbEntry(_)
                    | Object::Neighbour(_)
                    | Object::HeldPort(_),
                ..
            } => {
                let key = op.key();
                let Some(queue) = self.retired.get_mut(&key) else { return };
                let oldest = queue.pop_front();
                if queue.is_empty() {
                    self.retired.remove(&key);
                }
                match oldest {
                    Some(Retired::Link { index, .. }) => self.reaper.release(Released::Link(index)),
                    Some(Retired::Inside { place, index }) => self.release_inside(&place, index),
                    Some(Retired::Netns(handle)) => self.reaper.release(Released::Netns(handle)),
                    Some(Retired::Port(_) | Retired::Claim(_) | Retired::Nothing) | None => {}
                }
            }
            _ => {}
        }
    }
}

impl Linux {
    /// Gives an interface in a namespace to the reaper. If the namespace goes it goes with it.
    fn release_inside(&self, place: &Place, index: u32) {
        let Place::Named(name) = place else { return self.reaper.release(Released::Link(index)) };
        let Some(handle) = self.namespaces.get(name) else { return };
        match self.folder.socket(handle) {
            Ok(socket) => self.reaper.release(Released::Inside(socket, index)),
            Err(error) => tracing::error!(%error, netns = %name, index, "cannot delete an interface"),
        }
    }
}

impl Dataplane for Linux {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, ApplyError> {
        let (touched, failure) = executor::forward(self, &plan.ops);
        let Some((index, source)) = failure else {
            announce::announce(self, &plan.ops);
            return Ok(Applied { plan: plan.clone() });
        };
        // Operations that were not reached are not in `touched`.
        let undo = executor::take_back(self, &plan.ops[..touched.len()], &touched).err();
        Err(ApplyError { index, op: plan.ops[index].to_string(), source, undo })
    }

    fn settle(&mut self, applied: Applied) {
        let mut ended = Vec::new();
        for op in &applied.plan.ops {
            self.settle_op(op);
            if let Op::Change { from: Object::Service(from), to: Object::Service(to) } = op {
                ended.extend(conntrack::ended(from, to));
            }
        }
        self.conntrack.drop(&mut self.wire, &ended);
    }

    fn undo(&mut self, applied: Applied) -> Result<(), UndoError> {
        executor::take_back(self, &applied.plan.ops, &vec![true; applied.plan.ops.len()])
    }

    fn adopt(&mut self, wanted: &State) -> Result<State, OpError> {
        adopt::adopt(self, wanted)
    }

    fn look(&mut self, wanted: &State, scope: &Scope) -> Result<State, OpError> {
        drift::look(self, wanted, scope)
    }

    fn restore_rules(&mut self, wanted: &State) -> Result<bool, OpError> {
        if self.owns_tables {
            return Ok(false);
        }
        adopt::restore_rules(self, wanted).map(|()| true)
    }

    fn watch(&mut self, notify: Notify) -> Result<(), OpError> {
        let rules = (!self.owns_tables).then_some(&self.nft);
        let (links, names) = (self.links.on_host(), self.folder.path());
        if let Ok(there) = observe::links(&mut self.wire, &self.host) {
            links.note(there.values());
        }
        let started = drift::Listener::start(links, names, &self.host, rules, notify);
        self.listener = Some(started.map_err(|error| OpError {
            errno: error.raw_os_error(),
            message: format!("cannot listen for changes: {error}"),
        })?);
        Ok(())
    }

    fn scope(&mut self, notice: &Notice) -> Option<Scope> {
        drift::scope(self, notice)
    }

    fn host(&mut self, links: &[String]) -> Result<HostFacts, OpError> {
        facts::read(&mut self.wire, &self.host, links).map_err(|error| OpError {
            errno: error.raw_os_error(),
            message: format!("cannot read the host's addresses: {error}"),
        })
    }

    fn netns(&mut self, place: &str) -> NetnsFacts {
        self.look_at(place).unwrap_or_else(|error| {
            let message = match error.raw_os_error() {
                Some(libc::EINVAL) => "this is no network namespace".to_owned(),
                Some(libc::ETIMEDOUT) => "its file system does not answer".to_owned(),
                _ => error.to_string(),
            };
            let problem = Some(OpError { errno: error.raw_os_error(), message });
            NetnsFacts { problem, ..NetnsFacts::default() }
        })
    }

    fn counters(&mut self, link: &LinkId) -> Result<Option<Counters>, OpError> {
        let socket = match &link.netns {
            Netns::Host => &self.host,
            Netns::Named(name) => match self.namespaces.get(name) {
                Some(handle) => &handle.socket,
                None => return Ok(None),
            },
        };
        counters::read(&mut self.wire, socket, &link.name).map_err(|error| OpError {
            errno: error.raw_os_error(),
            message: format!("cannot read the counters of {link}: {error}"),
        })
    }
}
