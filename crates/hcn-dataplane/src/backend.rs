//! What a data plane must offer.

use std::fmt;

use ipnet::IpNet;

use crate::notice::{Notice, Notify, Scope};
use crate::object::{HostRoute, LinkId, Mac, Object};
use crate::plan::{Op, Plan};
use crate::state::State;

/// Carries plans out. Calls come from one thread, one at a time.
pub trait Dataplane: Send {
    /// Does every operation of the plan, or none: after an error everything that was done has been undone,
    /// except what [`ApplyError::undo`] lists.
    ///
    /// Removals are done in a way that can be taken back, until [`settle`](Self::settle).
    ///
    /// # Errors
    /// The operation that failed and why.
    fn apply(&mut self, plan: &Plan) -> Result<Applied, ApplyError>;

    /// The change is durable: what it removed may now be destroyed. Need not be called for what
    /// [holds no removals](Applied::holds_removals).
    fn settle(&mut self, applied: Applied);

    /// Takes an applied plan back, the last operation first. Goes on after an error.
    ///
    /// # Errors
    /// The operations that are still to be taken back.
    fn undo(&mut self, applied: Applied) -> Result<(), UndoError>;

    /// Takes over what an earlier run left: called once, before anything else. Leaves what is wanted as it is, takes
    /// away what is recognisably hcnd's own and not wanted, and says which of the wanted objects are there, as they
    /// are. Running traffic does not notice.
    ///
    /// # Errors
    /// The kernel could not be read or changed.
    fn adopt(&mut self, wanted: &State) -> Result<State, OpError>;

    /// Which of the wanted objects are there, as they are; nothing is changed. What is out of scope counts as there. What is
    /// not there is forgotten, so that it can be created, and what may be left of it is removed. Something that is there
    /// and not right is [distorted](Object::distorted).
    ///
    /// # Errors
    /// The kernel could not be read.
    fn look(&mut self, wanted: &State, scope: &Scope) -> Result<State, OpError> {
        let _ = scope;
        Ok(wanted.clone())
    }

    /// Makes the rules what the wanted objects, which are all, mean. Says whether there was a need: where rules can be
    /// owned nobody else can change them.
    ///
    /// # Errors
    /// The kernel could not be read or changed.
    fn restore_rules(&mut self, wanted: &State) -> Result<bool, OpError> {
        let _ = wanted;
        Ok(false)
    }

    /// From now on says when something may have changed that hcnd did not change, until the data plane ends. To be called
    /// once, after [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// It cannot be known.
    fn watch(&mut self, notify: Notify) -> Result<(), OpError> {
        drop(notify);
        Ok(())
    }

    /// Where to look after a notice; `None` = it is about nothing of hcnd's.
    fn scope(&mut self, notice: &Notice) -> Option<Scope> {
        notice.scope(|_| None)
    }

    /// What the host looks like besides the objects that are hcnd's own; also which of the links with these names
    /// there are.
    ///
    /// # Errors
    /// The kernel did not answer.
    fn host(&mut self, links: &[String]) -> Result<HostFacts, OpError>;

    /// What is at this path, or has this name in the netns folder (a name has no `/`).
    fn netns(&mut self, place: &str) -> NetnsFacts {
        let _ = place;
        NetnsFacts::default()
    }

    /// What a link has carried, seen from its namespace; none where there is no such link.
    ///
    /// # Errors
    /// The kernel did not answer.
    fn counters(&mut self, link: &LinkId) -> Result<Option<Counters>, OpError>;
}

/// What a network namespace is that somebody else made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetnsFacts {
    /// Its number; 0 = not known.
    pub inode: u64,
    /// It is the one that hcnd itself runs in.
    pub own: bool,
    /// It has this name in the netns folder, as a namespace of hcnd's.
    pub known_as: Option<String>,
    /// The names of its links.
    pub links: Vec<String>,
    /// Why it cannot be had.
    pub problem: Option<OpError>,
}

/// A plan that was carried out and is neither settled nor undone.
#[must_use = "an applied plan must be settled or undone"]
#[derive(Debug)]
pub struct Applied {
    /// What was done.
    pub plan: Plan,
}

impl Applied {
    /// Whether something was set aside that settling destroys, or connections wait for it to end. What was only made can
    /// be forgotten.
    pub fn holds_removals(&self) -> bool {
        self.plan.ops.iter().any(|op| match op {
            Op::Remove { .. } => true,
            Op::Change { to: Object::Service(service), .. } => service.terminates,
            _ => false,
        })
    }
}

/// What decisions need to know of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Addresses of links that are not hcnd's.
    pub addresses: Vec<HostAddress>,
    /// Unicast routes of the main table by links that are not hcnd's, both families, default routes too.
    pub routes: Vec<HostRoute>,
    /// The link that the default route leaves by.
    pub uplink: Option<String>,
    /// The links that carry addresses or default routes, and those of the links that were asked for that there are;
    /// none of hcnd's.
    pub links: Vec<HostLink>,
    /// Whether every bridge shows its frames to the rules for IPv4 and for IPv6, whatever is set of the single one.
    pub shows_frames: [bool; 2],
    /// What the kernel has.
    pub kernel: Kernel,
    /// The network namespace that the call is about, where it is one that somebody else made.
    pub netns: Option<NetnsFacts>,
}

impl HostFacts {
    /// The link with this name, alternative name, alias, or index in digits.
    pub fn link(&self, name: &str) -> Option<&HostLink> {
        let called =
            |link: &&HostLink| link.name == name || link.other_names.iter().any(|other| other == name);
        let numbered = |link: &&HostLink| name.parse() == Ok(link.index);
        let mut links = self.links.iter();
        links
            .clone()
            .find(|link| link.name == name)
            .or_else(|| links.clone().find(called))
            .or_else(|| links.find(numbered))
    }
}

/// One of the host's own links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLink {
    /// Interface name.
    pub name: String,
    /// Alternative names, and the alias.
    pub other_names: Vec<String>,
    /// Interface index.
    pub index: u32,
    /// Octets.
    pub mtu: u32,
    /// Its own address, if it is an Ethernet link.
    pub mac: Option<Mac>,
    /// It leads to the host itself.
    pub loopback: bool,
    /// It is wireless (IEEE 802.11).
    pub wireless: bool,
    /// It is a port of a bridge, or part of another link otherwise.
    pub port: bool,
}

/// What a kernel has of what not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Links of kind vxlan.
    pub vxlan: bool,
    /// Links of kind macvlan.
    pub macvlan: bool,
    /// Links of kind ipvlan.
    pub ipvlan: bool,
    /// Links of kind vlan.
    pub vlan: bool,
    /// Bridges that filter by VLAN.
    pub bridge_vlan: bool,
    /// Connection tracking of bridged frames.
    pub bridge_conntrack: bool,
    /// Rules for bridged frames (nftables family bridge).
    pub bridge_rules: bool,
    /// Bridged frames shown to the rules for IP packets (`br_netfilter`).
    pub bridge_filter: bool,
    /// TAP interfaces.
    pub tun: bool,
}

impl Default for Kernel {
    /// One that has everything.
    fn default() -> Self {
        Self {
            vxlan: true,
            macvlan: true,
            ipvlan: true,
            vlan: true,
            bridge_vlan: true,
            bridge_conntrack: true,
            bridge_rules: true,
            bridge_filter: true,
            tun: true,
        }
    }
}

/// What a link has carried since it was made (`struct rtnl_link_stats64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came from the link.
    pub received_packets: u64,
    /// Octets that came from the link.
    pub received_bytes: u64,
    /// Packets that came from the link and were dropped.
    pub received_dropped: u64,
    /// Packets that were sent to the link.
    pub sent_packets: u64,
    /// Octets that were sent to the link.
    pub sent_bytes: u64,
    /// Packets that were to be sent to the link and were dropped.
    pub sent_dropped: u64,
}

impl Counters {
    /// What the other end of the link has carried.
    #[must_use]
    pub fn of_the_other_end(self) -> Self {
        Self {
            received_packets: self.sent_packets,
            received_bytes: self.sent_bytes,
            received_dropped: self.sent_dropped,
            sent_packets: self.received_packets,
            sent_bytes: self.received_bytes,
            sent_dropped: self.received_dropped,
        }
    }
}

/// An address of one of the host's own links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// Interface name.
    pub link: String,
    /// Address and prefix length.
    pub address: IpNet,
}

/// Why one operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OpError {
    /// The kernel's error number, when it is the kernel that refused.
    pub errno: Option<i32>,
    /// What went wrong, with what to do about it where there is something to do.
    pub message: String,
}

/// A plan failed and was unwound.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op}")]
pub struct ApplyError {
    /// Which operation of the plan.
    pub index: usize,
    /// The operation, in words.
    pub op: String,
    /// Why it failed.
    pub source: OpError,
    /// What could not be undone; `None` when nothing is left over.
    pub undo: Option<UndoError>,
}

/// Operations that could not be taken back.
#[derive(Debug)]
pub struct UndoError {
    /// The operations that are still to be done, in order.
    pub left: Plan,
    /// Why each of them failed.
    pub errors: Vec<(Op, OpError)>,
}

impl fmt::Display for UndoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot take back")?;
        for (op, error) in &self.errors {
            write!(f, " [{op}: {error}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for UndoError {}
