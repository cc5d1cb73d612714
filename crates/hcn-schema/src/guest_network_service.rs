//! GuestNetworkService: what a virtual machine's network stack is told of the host's (contract 2.10).

use crate::document::document;
use crate::enums::{
    GuestNetworkServiceFlags, GuestNetworkServiceInterfaceState, GuestNetworkServiceNotificationType,
    GuestNetworkServiceState, RpcEndpointType,
};

document! {
    /// A guest network service document.
    GuestNetworkService: Base {
        /// GUID of the virtual machine.
        virtual_machine_id: guid "VirtualMachineId",
        /// Interfaces of the host that the guest mirrors.
        mirrored_interfaces: objects(GuestNetworkServiceInterface) "MirroredInterfaces",
        /// Whether the guest mirrors all interfaces of the host.
        mirror_host_networking: bool "MirrorHostNetworking",
        /// How the guest reaches the service.
        gns_rpc_server_information: object(RpcConnectionInformation) "GnsRpcServerInformation",
        /// Flags; written as a number.
        flags: flags(GuestNetworkServiceFlags) "Flags",
    }
}

document! {
    /// GuestNetworkServiceInterface.
    GuestNetworkServiceInterface {
        /// GUID of the endpoint that serves the interface.
        endpoint_id: guid "EndpointId",
        /// GUID of the interface.
        interface_guid: guid "InterfaceGuid",
        /// How far the guest is in step with the host.
        state: choice(GuestNetworkServiceInterfaceState) "State",
        /// What the guest has not been told.
        missed_notifications: choice(GuestNetworkServiceNotificationType) "MissedNotifications",
    }
}

document! {
    /// RpcConnectionInformation.
    RpcConnectionInformation {
        /// Address of the machine.
        network_address: text "NetworkAddress",
        /// Address on that machine.
        endpoint_address: text "EndpointAddress",
        /// Transport.
        endpoint_type: choice(RpcEndpointType) "EndpointType",
        /// GUID of the object that is called.
        object_uuid: guid "ObjectUuid",
    }
}

document! {
    /// GuestNetworkServiceNotificationData: `Data` of the notifications about changes of state (4.2).
    GuestNetworkServiceNotificationData {
        /// State of the service after the change.
        state: choice(GuestNetworkServiceState) "State",
        /// The interfaces that changed.
        interfaces: objects(GuestNetworkServiceInterface) "Interfaces",
    }
}
