//! What is known of one bridge: the host's addresses on it, and the endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use hcn_dataplane::{Lease, Mac, Responder};
use ipnet::IpNet;

use crate::dns::Zone;

/// One bridge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// What answers there, once it was told to.
    pub(crate) responder: Option<Responder>,
    /// By claimant.
    pub(crate) leases: BTreeMap<String, Lease>,
    /// The names, as long as nothing has changed.
    zone: Option<Zone>,
}

impl Book {
    /// Of this responder, and these leases.
    #[cfg(test)]
    pub(crate) fn new(responder: Responder, leases: BTreeMap<String, Lease>) -> Self {
        Self { responder: Some(responder), leases, zone: None }
    }

    /// Says what answers; none = nothing does.
    pub(crate) fn set(&mut self, responder: Option<Responder>) {
        (self.responder, self.zone) = (responder, None);
    }

    /// Notes what is known of an endpoint.
    pub(crate) fn note(&mut self, lease: Lease) {
        self.zone = None;
        self.leases.insert(lease.claimant.clone(), lease);
    }

    /// Forgets it.
    pub(crate) fn forget(&mut self, claimant: &str) {
        self.zone = None;
        self.leases.remove(claimant);
    }

    /// The names, if they are answered.
    pub(crate) fn zone(&mut self) -> Option<&Zone> {
        let responder = self.responder.as_ref().filter(|responder| responder.dns)?;
        let leases = self.leases.values();
        let host = || nix::unistd::gethostname().unwrap_or_default().into_string().unwrap_or_default();
        Some(self.zone.get_or_insert_with(|| Zone::of(responder, leases, &host())))
    }

    /// The leases for a MAC address.
    pub(crate) fn of(&self, mac: Mac) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(move |lease| lease.mac == mac)
    }

    /// The addresses of the host.
    pub(crate) fn host(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.responder.iter().flat_map(|responder| responder.addresses.iter().copied())
    }

    /// The host's address by which an endpoint with this address knows it: that of its subnet, else the first.
    pub(crate) fn host_for(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let v4 = |host: &IpNet| match host.addr() {
            IpAddr::V4(host) => Some(host),
            IpAddr::V6(_) => None,
        };
        let near = self.host().filter(|host| host.contains(&IpAddr::V4(address))).find_map(|host| v4(&host));
        near.or_else(|| self.host().find_map(|host| v4(&host)))
    }
}
