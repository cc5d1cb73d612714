//! The uplink of a sandbox: eth0 as on a real host, and behind it the namespace `outside`, which plays the rest of
//! the world.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::thread;

use anyhow::{Context as _, anyhow};
use futures_util::TryStreamExt as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// Where named network namespaces are, for us and for `ip netns`.
const NETNS_DIR: &str = "/run/netns";
const OUTSIDE_FILE: &str = "/run/netns/outside";
const THIS_NETNS: &str = "/proc/thread-self/ns/net";
const LINK: &str = "eth0";
/// The loopback link has this index in every network namespace.
const LOOPBACK: u32 = 1;
/// Far from the index that eth0 gets on this side: the kernel announces the carrier of a veth at once only if the
/// two ends differ in their index, otherwise up to a second late, and drops packets until then.
const OUTSIDE_INDEX: u32 = 100;

/// One end of the uplink.
struct End {
    mac: [u8; 6],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

const V4_PREFIX: u8 = 24;
const V6_PREFIX: u8 = 64;
const HOST: End = End {
    mac: [0x52, 0x54, 0, 0, 0, 0x0a],
    v4: Ipv4Addr::new(203, 0, 113, 10),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10),
};
const OUTSIDE: End = End {
    mac: [0x52, 0x54, 0, 0, 0, 0x01],
    v4: Ipv4Addr::new(203, 0, 113, 1),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1),
};

/// Brings up the loopback link, and the uplink if wanted.
pub(super) fn set_up(with_uplink: bool) -> anyhow::Result<()> {
    if with_uplink {
        share_netns_dir()?;
        let here = File::open(THIS_NETNS).context("cannot open the network namespace")?;
        // A thread of its own, because a network namespace belongs to the thread that made it.
        thread::Builder::new()
            .name("outside".into())
            .spawn(move || make_outside(&here))
            .context("cannot start a thread")?
            .join()
            .map_err(|_| anyhow!("the thread that makes the namespace outside panicked"))?
            .context("cannot make the namespace outside")?;
    }
    on_netlink(async |netlink| {
        set_link_up(&netlink, LOOPBACK).await?;
        if with_uplink {
            let index = index_of(&netlink, LINK).await?;
            configure(&netlink, index, &HOST).await?;
            add_default_routes(&netlink, index).await?;
        }
        Ok(())
    })
    .context("cannot set up the links of the sandbox")
}

/// What `ip netns add` does first, so that the two agree: a mount point that is shared with later namespaces.
fn share_netns_dir() -> anyhow::Result<()> {
    let shared = || -> anyhow::Result<()> {
        fs::create_dir_all(NETNS_DIR)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(NETNS_DIR), NETNS_DIR, None::<&str>, flags, None::<&str>)?;
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, NETNS_DIR, None::<&str>, flags, None::<&str>)?;
        Ok(())
    };
    shared().context("cannot prepare /run/netns")
}

/// Makes the namespace, its file, and a veth whose other end arrives in `here`.
fn make_outside(here: &File) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    File::create(OUTSIDE_FILE).context("cannot create its file")?;
    mount(Some(THIS_NETNS), OUTSIDE_FILE, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .context("cannot bind its file")?;
    on_netlink(async |netlink| {
        set_link_up(&netlink, LOOPBACK).await?;
        let far_end =
            LinkUnspec::new_with_name(LINK).address(HOST.mac.to_vec()).setns_by_fd(here.as_raw_fd()).build();
        let veth = LinkVeth::new(LINK, LINK)
            .index(OUTSIDE_INDEX)
            .address(OUTSIDE.mac.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .build();
        netlink.link().add(veth).execute().await.context("cannot make a veth")?;
        configure(&netlink, OUTSIDE_INDEX, &OUTSIDE).await
    })
}

/// Addresses before the link is up, so that nobody sees it up without them.
async fn configure(netlink: &Handle, index: u32, end: &End) -> anyhow::Result<()> {
    for (address, prefix) in [(IpAddr::V4(end.v4), V4_PREFIX), (IpAddr::V6(end.v6), V6_PREFIX)] {
        let mut request = netlink.address().add(index, address, prefix);
        if address.is_ipv6() {
            // Without duplicate detection, which would keep the address unusable for a second.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await.with_context(|| format!("cannot add {address}/{prefix} to {LINK}"))?;
    }
    set_link_up(netlink, index).await
}

async fn add_default_routes(netlink: &Handle, index: u32) -> anyhow::Result<()> {
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().gateway(OUTSIDE.v4).output_interface(index).build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().gateway(OUTSIDE.v6).output_interface(index).build();
    for route in [v4, v6] {
        netlink.route().add(route).execute().await.context("cannot add a default route")?;
    }
    Ok(())
}

async fn set_link_up(netlink: &Handle, index: u32) -> anyhow::Result<()> {
    let message = LinkUnspec::new_with_index(index).up().build();
    netlink.link().set(message).execute().await.with_context(|| format!("cannot set link {index} up"))
}

async fn index_of(netlink: &Handle, name: &str) -> anyhow::Result<u32> {
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await.with_context(|| format!("cannot look up {name}"))?;
    link.map(|link| link.header.index).ok_or_else(|| anyhow!("there is no link {name}"))
}

/// Runs `work` with a route netlink socket in this thread's network namespace.
fn on_netlink<W>(work: W) -> anyhow::Result<()>
where
    W: AsyncFnOnce(Handle) -> anyhow::Result<()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime for netlink")?;
    runtime.block_on(async {
        let (connection, netlink, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        work(netlink).await
    })
}
