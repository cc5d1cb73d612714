//! Enumerations of guest network services (contract 2.10, 2.12).

use super::enumeration::enumeration;
use super::flag_set::flag_set;

enumeration! {
    /// GuestNetworkServiceState (2.10).
    GuestNetworkServiceState {
        None = 0 "None",
        Created = 1 "Created",
        Bootstrapping = 2 "Bootstrapping",
        Synchronized = 3 "Synchronized",
        Paused = 4 "Paused",
        Desynchronized = 5 "Desynchronized",
        Rehydrating = 6 "Rehydrating",
        Degraded = 7 "Degraded",
        Destroyed = 8 "Destroyed",
    }
}

flag_set! {
    /// GuestNetworkServiceFlags (2.10).
    GuestNetworkServiceFlags {
        IS_FLOWSTEERED = 1 "IsFlowsteered",
        IS_FLOWSTEERED_SELF_MANAGED = 2 "IsFlowsteeredSelfManaged",
    }
}

enumeration! {
    /// Resources of a guest network service that can be modified (2.12).
    GuestNetworkServiceResourceType {
        State = 0 "State",
    }
}

enumeration! {
    /// GuestNetworkServiceInterfaceState (2.10).
    GuestNetworkServiceInterfaceState {
        Created = 0 "Created",
        Bootstrapping = 1 "Bootstrapping",
        Synchronized = 2 "Synchronized",
        Desynchronized = 3 "Desynchronized",
        Paused = 4 "Paused",
    }
}

enumeration! {
    /// GuestNetworkServiceNotificationType (2.10): what a guest has not been told.
    GuestNetworkServiceNotificationType {
        None = 0 "None",
        DnsCacheParam = 1 "DNSCacheParam",
        DhcpParam = 2 "DHCPParam",
        InterfaceParam = 3 "InterfaceParam",
        AddressParam = 4 "AddressParam",
        Route = 5 "Route",
        DnsParam = 6 "DNSParam",
        XlatParam = 7 "XlatParam",
        Neighbor = 8 "Neighbor",
    }
}

enumeration! {
    /// RpcEndpointType (2.10).
    RpcEndpointType {
        HvSocket = 0 "HvSocket",
        LRpc = 1 "LRpc",
    }
}
