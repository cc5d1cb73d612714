//! Filters and the sets that they name. Their table is there as long as a namespace has any; a bridge shows its frames to
//! rules (br_netfilter) as long as there is a filter or a diversion for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use hcn_dataplane::{AddressSet, Filter, Key, LinkId, Netns, Object, Op, OpError, Site};

use super::{Place, Run, Stop, Tag};
use crate::link;
use crate::nft::filters::{self, Group, Layout, Message};

/// There where the kernel can show frames of bridges to rules of IP.
const BRIDGE_NETFILTER: &str = "/proc/sys/net/bridge";

/// Which filters, sets and diversions there are, to tell what must be there for them.
#[derive(Debug, Default)]
pub(crate) struct Filtering {
    tables: HashMap<Netns, Known>,
    /// Why bridges show their frames.
    bridges: HashMap<String, BTreeSet<Key>>,
}

/// What a table is there for.
#[derive(Debug, Default)]
struct Known {
    sets: BTreeSet<Key>,
    /// Filters of packets that the host carries.
    carried: BTreeSet<Key>,
    /// Filters on links.
    links: BTreeMap<Key, Filter>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    sets: usize,
    carried: usize,
    links: usize,
}

impl Counted {
    fn of(&self, group: Group) -> usize {
        match group {
            Group::Carried => self.carried,
            Group::Links => self.links,
        }
    }

    fn all(&self) -> usize {
        self.sets + self.carried + self.links
    }
}

impl Filtering {
    /// Notes what an operation makes, and what it takes away.
    pub(crate) fn note(&mut self, op: &Op) {
        let (object, made) = match op {
            Op::Create(object) | Op::Change { to: object, .. } => (object, true),
            Op::Remove { object, .. } => (object, false),
        };
        let key = object.key();
        if let Some(bridge) = shown_by(object) {
            let why = self.bridges.entry(bridge.to_owned()).or_default();
            if made {
                why.insert(key.clone())
            } else {
                why.remove(&key)
            };
            if why.is_empty() {
                self.bridges.remove(bridge);
            }
        }
        let netns = match object {
            Object::AddressSet(_) => &HOST,
            Object::Filter(filter) => netns_of(filter),
            _ => return,
        };
        let known = self.tables.entry(netns.clone()).or_default();
        match object {
            Object::Filter(filter) if matches!(filter.site, Site::Link(_)) => {
                if made {
                    known.links.insert(key, filter.clone())
                } else {
                    known.links.remove(&key)
                };
            }
            _ => {
                let keys =
                    if matches!(object, Object::Filter(_)) { &mut known.carried } else { &mut known.sets };
                if made {
                    keys.insert(key)
                } else {
                    keys.remove(&key)
                };
            }
        }
        if self.counted(netns).all() == 0 {
            self.tables.remove(netns);
        }
    }

    /// Whether a bridge is to show its frames to rules.
    pub(crate) fn on(&self, bridge: &str) -> bool {
        self.bridges.contains_key(bridge) && has_bridge_netfilter()
    }

    /// The filters on links in a namespace.
    pub(super) fn inside(&self, netns: &Netns) -> Vec<Filter> {
        self.tables.get(netns).map(|known| known.links.values().cloned().collect()).unwrap_or_default()
    }

    fn counted(&self, netns: &Netns) -> Counted {
        let counted = |known: &Known| Counted {
            sets: known.sets.len(),
            carried: known.carried.len(),
            links: known.links.len(),
        };
        self.tables.get(netns).map(counted).unwrap_or_default()
    }
}

const HOST: Netns = Netns::Host;

/// Where the table of a filter is.
pub(crate) fn netns_of(filter: &Filter) -> &Netns {
    match &filter.site {
        Site::Link(link) => &link.netns,
        Site::Bridge(_) | Site::Host(_) => &HOST,
    }
}

/// The bridge that shows its frames to rules because of this object.
fn shown_by(object: &Object) -> Option<&str> {
    match object {
        Object::Filter(Filter { site: Site::Bridge(bridge) | Site::Host(bridge), .. }) => Some(bridge),
        Object::Diversion(diversion) => Some(&diversion.bridge),
        _ => None,
    }
}

/// Whether the kernel can show frames of bridges to rules of IP.
pub(crate) fn has_bridge_netfilter() -> bool {
    Path::new(BRIDGE_NETFILTER).exists()
}

impl Run<'_> {
    pub(super) fn make_address_set(&mut self, op: usize, set: &AddressSet) {
        if self.linux.filtering.counted(&HOST).all() == 1 {
            self.send_rules(op, &Place::Nft, filters::new_table(self.linux.owns_tables));
        }
        self.send_rules(op, &Place::Nft, filters::set_new(&set.name, &set.members));
    }

    pub(super) fn unmake_address_set(&mut self, op: usize, set: &AddressSet) {
        let is_last = self.linux.filtering.counted(&HOST).all() == 0;
        let messages = if is_last { vec![filters::no_table()] } else { filters::set_gone(&set.name) };
        self.send_rules(op, &Place::Nft, messages);
    }

    pub(super) fn alter_address_set(&mut self, op: usize, from: &AddressSet, to: &AddressSet) {
        self.send_rules(op, &Place::Nft, filters::set_changes(&to.name, &from.members, &to.members));
    }

    pub(super) fn make_filter(&mut self, op: usize, filter: &Filter) -> Result<(), Stop> {
        if self.goes_with_namespace(netns_of(filter)) {
            return Ok(());
        }
        let bridge = match &filter.site {
            Site::Bridge(bridge) | Site::Host(bridge) => Some(bridge),
            Site::Link(_) => None,
        };
        if bridge.is_some() && !self.back && !has_bridge_netfilter() {
            let message = "this kernel does not show frames of bridges to rules: load br_netfilter \
                           (CONFIG_BRIDGE_NETFILTER)";
            self.note(op, OpError { errno: Some(libc::EOPNOTSUPP), message: message.to_owned() });
            return Err(Stop);
        }
        let place = self.rules_in(op, netns_of(filter))?;
        if self.write_all_inside(op, &place, netns_of(filter)) {
            return Ok(());
        }
        let group = Group::of(filter);
        let counted = self.linux.filtering.counted(netns_of(filter));
        if counted.all() == 1 {
            self.send_rules(op, &place, filters::new_table(self.linux.owns_tables));
        }
        if counted.of(group) == 1 {
            self.send_rules(op, &place, filters::new_group(group));
        }
        self.send_rules(op, &place, Layout::of(filter).make());
        bridge.map_or(Ok(()), |bridge| self.begin_to_show(op, bridge))
    }

    /// Has a bridge show its frames, if this is the first that needs it.
    pub(super) fn begin_to_show(&mut self, op: usize, bridge: &str) -> Result<(), Stop> {
        let is_first = self.linux.filtering.bridges.get(bridge).is_some_and(|why| why.len() == 1)
            && has_bridge_netfilter();
        if is_first { self.show_frames(op, bridge, true) } else { Ok(()) }
    }

    /// Has a bridge show its frames no more, if nothing needs it.
    pub(super) fn end_to_show(&mut self, op: usize, bridge: &str) -> Result<(), Stop> {
        let is_last = !self.linux.filtering.bridges.contains_key(bridge) && has_bridge_netfilter();
        if is_last { self.show_frames(op, bridge, false) } else { Ok(()) }
    }

    pub(super) fn unmake_filter(&mut self, op: usize, filter: &Filter) -> Result<(), Stop> {
        if self.goes_with_namespace(netns_of(filter)) {
            return Ok(());
        }
        if self.is_gone(netns_of(filter)) {
            self.touched[op] = true;
            return Ok(());
        }
        let place = self.rules_in(op, netns_of(filter))?;
        if self.write_all_inside(op, &place, netns_of(filter)) {
            return Ok(());
        }
        let group = Group::of(filter);
        let counted = self.linux.filtering.counted(netns_of(filter));
        if counted.all() == 0 {
            self.send_rules(op, &place, vec![filters::no_table()]);
        } else {
            self.send_rules(op, &place, Layout::of(filter).unmake());
            if counted.of(group) == 0 {
                self.send_rules(op, &place, filters::no_group(group));
            }
        }
        match &filter.site {
            Site::Bridge(bridge) | Site::Host(bridge) => self.end_to_show(op, bridge),
            Site::Link(_) => Ok(()),
        }
    }

    pub(super) fn alter_filter(&mut self, op: usize, from: &Filter, to: &Filter) -> Result<(), Stop> {
        let place = self.rules_in(op, netns_of(to))?;
        if self.write_all_inside(op, &place, netns_of(to)) {
            return Ok(());
        }
        self.send_rules(op, &place, Layout::of(from).become_other(&Layout::of(to)));
        Ok(())
    }

    fn send_rules(&mut self, op: usize, place: &Place, messages: Vec<Message>) {
        for (flags, message) in messages {
            self.write(place, op, flags, message);
        }
    }

    /// A bridge that is not there yet is told when it is made, and one that is gone needs no word. The rules come first:
    /// whether the operation has changed anything says whether they are there.
    fn show_frames(&mut self, op: usize, bridge: &str, shown: bool) -> Result<(), Stop> {
        let Some(index) = self.linux.links.get(&LinkId::host(bridge)).copied() else { return Ok(()) };
        self.flush(|queue| queue.place == Place::Nft)?;
        let tag = Tag { op, writes: true, tolerate: &[libc::ENODEV] };
        self.push(&Place::Host, tag, 0, link::show_frames(index, shown));
        Ok(())
    }

    /// Whether what is in a namespace goes with it in the same plan, and comes back with it.
    pub(super) fn goes_with_namespace(&self, netns: &Netns) -> bool {
        let Netns::Named(name) = netns else { return false };
        let goes = |op: &Op| match op {
            Op::Remove { object: Object::Netns(netns), .. } => netns.name == *name && netns.from.is_none(),
            _ => false,
        };
        self.ops.iter().any(goes)
    }
}
