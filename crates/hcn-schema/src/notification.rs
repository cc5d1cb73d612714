//! Notifications (contract section 4).

use crate::call::Kind;
use crate::document::document;
use crate::{Guid, Raw};

/// Numbers of the notification types (4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NotificationType {
    /// None; never sent.
    Invalid = 0x0,
    /// Before a network is created.
    NetworkPreCreate = 0x1,
    /// After a network was created.
    NetworkCreate = 0x2,
    /// Before a network is deleted, whether or not that succeeds then.
    NetworkPreDelete = 0x3,
    /// After a network was deleted.
    NetworkDelete = 0x4,
    /// After a namespace was created.
    NamespaceCreate = 0x5,
    /// After a namespace was deleted.
    NamespaceDelete = 0x6,
    /// After a guest network service was created.
    GuestNetworkServiceCreate = 0x7,
    /// After a guest network service was deleted.
    GuestNetworkServiceDelete = 0x8,
    /// After an endpoint of the network was attached.
    NetworkEndpointAttached = 0x9,
    /// After an endpoint of the network was detached. The contract writes this number in hexadecimal.
    NetworkEndpointDetached = 0x10,
    /// After a guest network service changed its state.
    GuestNetworkServiceStateChanged = 0x11,
    /// After an interface of a guest network service changed its state.
    GuestNetworkServiceInterfaceStateChanged = 0x12,
    /// The connection to the service is lost, and the registration with it.
    ServiceDisconnect = 0x0100_0000,
}

impl NotificationType {
    /// The bits that no type uses.
    pub const FLAGS_RESERVED: u32 = 0xF000_0000;
}

document! {
    /// NotificationBase (4.2): what a notification says.
    NotificationBase {
        /// The entity that it is about.
        id: guid "ID",
        /// The flags of a network or of a guest network service; 0 for others.
        flags: u32 "Flags",
        /// More, by type: GuestNetworkServiceNotificationData for changes of state.
        data: any "Data",
    }
}

/// Something that happened to an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The contract's notification, where it has one.
    pub notification: Option<NotificationType>,
    /// What happened, in a word: `pre-create`, `create`, `modify`, `attach`, `detach`,
    /// `refresh`, `state-change`, `pre-delete`, `delete`; of what others did to it: `repair` (it was put right) and `fight` (it
    /// is done again and again, and not put right for a while).
    pub action: &'static str,
    /// Kind of entity.
    pub kind: Kind,
    /// Which entity.
    pub id: Guid,
    /// The network that it happened on, where that is not the entity itself.
    pub network: Option<Guid>,
    /// The entity's owner, as its document says.
    pub owner: String,
    /// The entity's revision after the change.
    pub revision: u64,
    /// NotificationBase (4.2): `{"ID", "Flags", "Data"}`.
    pub data: Raw,
}
