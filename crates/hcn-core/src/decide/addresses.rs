//! Addresses of endpoints: checking given ones, allocating others.

use std::net::IpAddr;

use hcn_schema::endpoint::{HostComputeEndpoint, IpConfig};
use hcn_schema::{Error, Guid, HResult, Result};
use ipnet::IpNet;

use super::{Cursors, View};
use crate::entity::{Network, Subnet};
use crate::registry::Uses;
use crate::{pools, text};

/// The addresses of an endpoint of another host: anything that is an address (B21).
pub(super) fn remote(document: &HostComputeEndpoint) -> Result<Vec<IpNet>> {
    let mut addresses = Vec::new();
    for (index, config) in document.ip_configurations.iter().enumerate() {
        let path = format!("IpConfigurations[{index}]");
        let Some(given) = &config.ip_address else { continue };
        let address = text::address(given, &format!("{path}.IpAddress"))?;
        addresses.push(with_length(address, config.prefix_length, None, &path)?);
    }
    Ok(addresses)
}

/// The addresses of an endpoint of this host: given ones checked, missing ones allocated; the document gets
/// what was missing (B11 to B13, B17, B20).
pub(super) fn local(
    view: &View<'_>,
    network: &Network,
    document: &mut HostComputeEndpoint,
    cursors: &mut Cursors,
) -> Result<Vec<IpNet>> {
    let mut taken = Vec::new();
    if document.ip_configurations.is_empty() {
        for ipv4 in [true, false] {
            let subnets: Vec<&Subnet> =
                network.subnets.iter().filter(|subnet| subnet.prefix.addr().is_ipv4() == ipv4).collect();
            if !subnets.is_empty() {
                let address = allocate(view, network, &subnets, &taken, cursors)?;
                taken.push(address);
                document.ip_configurations.push(config_of(address));
            }
        }
        return Ok(taken);
    }
    for (index, config) in document.ip_configurations.iter_mut().enumerate() {
        let path = format!("IpConfigurations[{index}]");
        let within = |error: Error| error.within(&path);
        let part = config.ip_subnet_id.as_deref().map(|id| part(network, id)).transpose().map_err(within)?;
        // Written as the network's own document writes it.
        config.ip_subnet_id =
            config.ip_subnet_id.take().and_then(|id| id.parse::<Guid>().ok()).map(|id| id.to_string());
        let address = match &config.ip_address {
            Some(given) => {
                let address = text::address(given, "IpAddress").map_err(within)?;
                let subnet = check_address(view, network, part.as_ref(), address, &taken).map_err(within)?;
                with_length(address, config.prefix_length, Some(&subnet.prefix), &path)?
            }
            None => {
                let subnets = match &part {
                    Some(part) => vec![part],
                    None => network.subnets.iter().collect(),
                };
                let address = allocate(view, network, &subnets, &taken, cursors).map_err(within)?;
                with_length(address.addr(), config.prefix_length, Some(&address), &path)?
            }
        };
        config.ip_address.get_or_insert_with(|| address.addr().to_string());
        config.prefix_length = Some(address.prefix_len());
        taken.push(address);
    }
    Ok(taken)
}

fn config_of(address: IpNet) -> IpConfig {
    IpConfig {
        ip_address: Some(address.addr().to_string()),
        prefix_length: Some(address.prefix_len()),
        ip_subnet_id: None,
    }
}

/// The part of a subnet that an IpSubnetId names, as a subnet that is only as large as the part.
fn part(network: &Network, id: &str) -> Result<Subnet> {
    let wanted = text::guid(id, "IpSubnetId")?;
    let found = network.subnets.iter().find_map(|subnet| {
        let (_, prefix) = subnet.parts.iter().find(|(id, _)| *id == wanted)?;
        Some(Subnet { prefix: *prefix, ..subnet.clone() })
    });
    found.ok_or_else(|| {
        Error::new(HResult::SUBNET_NOT_FOUND, format!("the network has no IpSubnet {wanted}"))
            .at("IpSubnetId")
    })
}

/// Gives an address its prefix length: the client's, else the subnet's, else that of a single host.
fn with_length(address: IpAddr, given: Option<u8>, subnet: Option<&IpNet>, path: &str) -> Result<IpNet> {
    let full = if address.is_ipv4() { 32 } else { 128 };
    let length = given.filter(|length| *length > 0).or(subnet.map(IpNet::prefix_len)).unwrap_or(full);
    IpNet::new(address, length).ok().filter(|_| length > 0).ok_or_else(|| {
        Error::new(HResult::INVALID_PREFIX, format!("{length} is not a prefix length for {address}"))
            .at(format!("{path}.PrefixLength"))
            .expected(format!("1 to {full}"))
    })
}

/// Checks a given address; answers the subnet that it belongs to.
fn check_address(
    view: &View<'_>,
    network: &Network,
    part: Option<&Subnet>,
    address: IpAddr,
    taken: &[IpNet],
) -> Result<Subnet> {
    let refuse = |code, message: String| Error::new(code, message).at("IpAddress");
    let subnet =
        network.subnet_of(address).filter(|_| part.is_none_or(|part| part.prefix.contains(&address)));
    let Some(subnet) = subnet else {
        let prefixes: Vec<String> = match part {
            Some(part) => vec![part.prefix.to_string()],
            None => network.subnets.iter().map(|subnet| subnet.prefix.to_string()).collect(),
        };
        let message = format!("{address} is outside the network's subnets");
        let expected = if prefixes.is_empty() {
            "no address: there is no subnet".to_owned()
        } else {
            prefixes.join(", ")
        };
        return Err(refuse(HResult::INVALID_IP, message).expected(expected));
    };
    if pools::is_reserved(&subnet.prefix, address) {
        let message = format!("{address} is the network or broadcast address of {}", subnet.prefix);
        return Err(refuse(HResult::ADDR_INVALID_OR_RESERVED, message));
    }
    if subnet.reserve_gateway && subnet.gateway == Some(address) {
        return Err(refuse(HResult::ADDR_INVALID_OR_RESERVED, format!("{address} is the gateway's address")));
    }
    if is_hosts(view, subnet, address) {
        return Err(refuse(
            HResult::ADDR_INVALID_OR_RESERVED,
            format!("{address} is an address of the host"),
        ));
    }
    let repeated = taken.iter().any(|other| other.addr() == address);
    if repeated || view.registry.uses_of(network.meta.id, address).local > 0 {
        return Err(refuse(HResult::INVALID_IP, format!("{address} is in use by another endpoint")));
    }
    Ok(subnet.clone())
}

/// Whether the host has an address in a prefix that it shares with a network outside. Who else has one there, only those
/// know who are there.
fn is_hosts(view: &View<'_>, subnet: &Subnet, address: IpAddr) -> bool {
    subnet.outside && view.context.host.addresses.iter().any(|own| own.address.addr() == address)
}

/// The next free address of the first of the subnets that has one.
fn allocate(
    view: &View<'_>,
    network: &Network,
    subnets: &[&Subnet],
    taken: &[IpNet],
    cursors: &mut Cursors,
) -> Result<IpNet> {
    let Some(first) = subnets.first() else {
        return Err(Error::new(
            HResult::SUBNET_NOT_FOUND,
            "the network has no subnet to take an address from",
        )
        .at("IpAddress"));
    };
    // Every endpoint of the network may hold addresses of each family; the gateway is one more.
    let in_use = view.registry.addresses_in(network.meta.id) + taken.len() + 1;
    for subnet in subnets {
        let after =
            cursors.addresses.get(&subnet.id).or_else(|| view.cursors.addresses.get(&subnet.id)).copied();
        let after = after.filter(|address| subnet.prefix.contains(address));
        let is_free = |address: IpAddr| {
            let uses = view.registry.uses_of(network.meta.id, address);
            let is_gateway = subnet.reserve_gateway && subnet.gateway == Some(address);
            let is_taken = is_gateway || taken.iter().any(|other| other.addr() == address);
            uses == Uses::default() && !is_taken && !is_hosts(view, subnet, address)
        };
        if let Some(address) = pools::next_address(&subnet.prefix, after, in_use, is_free) {
            cursors.addresses.insert(subnet.id, address);
            let whole = network.subnet_of(address).map_or(subnet.prefix, |subnet| subnet.prefix);
            return with_length(address, Some(whole.prefix_len()), None, "IpConfigurations");
        }
    }
    let message = format!("every address of {} is in use", first.prefix);
    Err(Error::new(HResult::ADDR_INVALID_OR_RESERVED, message).at("IpAddress"))
}
