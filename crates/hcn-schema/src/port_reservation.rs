//! Port reservations: what the functions of contract 1.4 take and give, as documents.

use serde::{Deserialize, Serialize};

use crate::given;

/// HcnReserveGuestNetworkServicePort and HcnReserveGuestNetworkServicePortRange: one port, or as many as are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PortReservationRequest {
    /// GUID of the guest network service.
    #[serde(rename = "GuestNetworkService", default, deserialize_with = "given::text")]
    pub guest_network_service: Option<String>,
    /// HCN_PORT_PROTOCOL: 1 TCP, 2 UDP, 3 both.
    #[serde(rename = "Protocol", default, deserialize_with = "given::number")]
    pub protocol: Option<u8>,
    /// HCN_PORT_ACCESS: 1 exclusive, 2 shared.
    #[serde(rename = "Access", default, deserialize_with = "given::number")]
    pub access: Option<u8>,
    /// The port.
    #[serde(rename = "Port", default, deserialize_with = "given::number")]
    pub port: Option<u16>,
    /// How far the last port of a range is from its first.
    #[serde(rename = "PortCount", default, deserialize_with = "given::number")]
    pub port_count: Option<u16>,
}

/// HCN_PORT_RANGE_ENTRY (contract 1.5), with the reservation's identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortRangeEntry {
    /// GUID of the reservation.
    #[serde(rename = "ID")]
    pub id: String,
    /// Who reserved: GUID of the guest network service.
    pub owning_partition_id: String,
    /// For whom: GUID of its virtual machine.
    pub target_partition_id: String,
    /// HCN_PORT_PROTOCOL.
    pub protocol: u8,
    /// Always 0.
    pub priority: u64,
    /// 0 a port, 1 a range.
    pub reservation_type: u32,
    /// HCN_PORT_ACCESS.
    pub sharing_flags: u32,
    /// Always 0.
    pub delivery_mode: u32,
    /// The first port.
    pub starting_port: u16,
    /// The last port.
    pub ending_port: u16,
}
