//! What does a diagnosis need to know of the host? Read with sockets of its own, on the thread that asks: the data
//! plane's thread does not wait for it. Nothing is changed.

pub(crate) mod rules;
mod settings;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use hcn_dataplane::{HostAddress, SeenLink, SeenNetns, SeenRoute, Survey, Use};
use ipnet::IpNet;
use netlink_packet_core::Parseable as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use crate::link::{self, GROUP, LOOPBACK, LinkFacts};
use crate::observe;
use crate::socket::{Batch, Socket, Wire};
use crate::{address, netns, route};

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct SurveyConfig {
    /// Folder of named network namespaces.
    pub netns_dir: PathBuf,
    /// Namespaces that hcnd knows: they are not entered.
    pub known_namespaces: BTreeSet<String>,
    /// Where the state is kept.
    pub state: Option<PathBuf>,
}

/// Looks at the host, in the network namespace that the calling thread is in. Takes some milliseconds, and with many
/// rules of other programs as long as nft takes to list them, at most 30 s.
pub fn survey(config: &SurveyConfig) -> Survey {
    let mut survey = Survey::default();
    links(config, &mut survey);
    settings::read(&mut survey);
    limits(config, &mut survey);
    survey.rules = rules::read(&mut survey.unread);
    survey.legacy_tables = legacy_tables();
    survey
}

/// The same of links and namespaces alone: what was suspicious may be gone by now.
pub fn survey_links(config: &SurveyConfig) -> Survey {
    let mut survey = Survey::default();
    links(config, &mut survey);
    survey
}

fn links(config: &SurveyConfig, survey: &mut Survey) {
    if let Err(error) = read_links(survey) {
        survey.unread.push(("links, addresses and routes".to_owned(), error.to_string()));
    }
    match namespaces(config) {
        Ok(namespaces) => survey.namespaces = namespaces,
        Err(error) => survey.unread.push((config.netns_dir.display().to_string(), error.to_string())),
    }
}

fn read_links(survey: &mut Survey) -> io::Result<()> {
    let (mut wire, socket) = (Wire::new(), Socket::open(NETLINK_ROUTE)?);
    let links = observe::links(&mut wire, &socket)?;
    let names: HashMap<u32, &String> = links.values().map(|link| (link.index, &link.name)).collect();
    let name = |index: u32| names.get(&index).map(|name| (*name).clone());
    for payload in wire.dump(&socket, &address::get_all())? {
        let Ok(message) = AddressMessage::parse(&payload[..]) else { continue };
        let mut own = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) if own.is_none() => own = Some(*address),
                _ => {}
            }
        }
        let address = own.and_then(|own| IpNet::new(own, message.header.prefix_len).ok());
        if let (Some(address), Some(link)) = (address, name(message.header.index)) {
            survey.addresses.push(HostAddress { link, address });
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for payload in wire.dump(&socket, &route::get_all(family))? {
            if let Ok(message) = RouteMessage::parse(&payload[..]) {
                survey.routes.extend(seen_route(family, &message, name));
            }
        }
    }
    survey.links = links.into_values().map(seen_link).collect();
    survey.links.sort_by_key(|link| link.index);
    Ok(())
}

fn seen_link(facts: LinkFacts) -> SeenLink {
    SeenLink {
        name: facts.name,
        index: facts.index,
        group: facts.group == GROUP,
        alias: facts.alias,
        loopback: facts.loopback,
        port: facts.master.is_some(),
        shows_frames: facts.shows_frames,
    }
}

fn seen_route(
    family: AddressFamily,
    message: &RouteMessage,
    name: impl Fn(u32) -> Option<String>,
) -> Option<SeenRoute> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let anywhere = if family == AddressFamily::Inet { [0; 4].into() } else { [0; 16].into() };
    let (mut link, mut destination, mut table) = (None, anywhere, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Destination(address) => destination = observe::plain(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::MultiPath(hops) => link = link.or(hops.first().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    Some(SeenRoute {
        link: name(link?)?,
        destination: IpNet::new(destination, message.header.destination_prefix_length).ok()?,
        table,
        advertised: message.header.protocol == RouteProtocol::Ra,
    })
}

fn namespaces(config: &SurveyConfig) -> io::Result<Vec<SeenNetns>> {
    let entries = match fs::read_dir(&config.netns_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let unknown: Vec<String> = names.filter(|name| !config.known_namespaces.contains(name)).collect();
    let folder = config.netns_dir.clone();
    // It enters them, and ends in the last one.
    let thread = thread::Builder::new().name("namespaces".to_owned()).spawn(move || {
        unknown.into_iter().map(|name| SeenNetns { alias: alias_in(&folder.join(&name)), name }).collect()
    })?;
    thread.join().map_err(|_| io::Error::other("the thread that enters them has panicked"))
}

/// The alias of the loopback in a namespace; none if it is no namespace.
fn alias_in(path: &Path) -> Option<String> {
    let file: File = netns::open_namespace(path).ok()?;
    setns(&file, CloneFlags::CLONE_NEWNET).ok()?;
    let (mut wire, socket) = (Wire::new(), Socket::open(NETLINK_ROUTE).ok()?);
    let mut batch = Batch::new();
    batch.push((), 0, link::get_index(LOOPBACK));
    let fate = wire.exchange(&socket, &mut batch).ok()?.pop()?;
    Some(LinkFacts::read(&fate.ok()??)?.alias)
}

fn limits(config: &SurveyConfig, survey: &mut Survey) {
    let number = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    survey.connections = number("count").zip(number("max")).map(|(count, most)| Use { count, most });
    survey.neighbours = ["arp_cache", "ndisc_cache"].map(neighbours);
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64);
    if let (Ok(count), Ok((most, _))) = (open, getrlimit(Resource::RLIMIT_NOFILE)) {
        survey.files = Some(Use { count, most });
    }
    let place = config.state.as_deref().and_then(Path::parent);
    if let Some(place) = place {
        match statvfs(place) {
            Ok(facts) => survey.state_room = Some(facts.blocks_available() * facts.fragment_size()),
            Err(error) => survey.unread.push((place.display().to_string(), error.to_string())),
        }
    }
}

/// Entries of one of the kernel's neighbour tables, the first number of each line but the heading.
fn neighbours(table: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/net/stat/{table}")).ok()?;
    u64::from_str_radix(text.lines().nth(1)?.split_whitespace().next()?, 16).ok()
}

/// Tables of iptables' older interface, which only a program that uses it has made.
fn legacy_tables() -> Vec<String> {
    let of = |family: &str, file: &str| -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        text.lines().map(|name| format!("{family} {name}")).collect()
    };
    [of("ip", "ip_tables_names"), of("ip6", "ip6_tables_names")].concat()
}
