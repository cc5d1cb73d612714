//! Enumerations of requests and queries (contract 2.11, 2.12).

use super::enumeration::enumeration;
use super::flag_set::flag_set;

enumeration! {
    /// ModifyRequestType (2.12).
    ModifyRequestType {
        Add = 0 "Add",
        Remove = 1 "Remove",
        Update = 2 "Update",
        Refresh = 3 "Refresh",
        Reset = 4 "Reset",
    }
}

flag_set! {
    /// HostComputeQueryFlags (2.11).
    QueryFlags ("HostComputeQueryFlags") {
        DETAILED = 1 "Detailed",
    }
}

flag_set! {
    /// EntityFlags (2.15): those that every kind of entity has.
    EntityFlags {
        ENABLE_NON_PERSISTENT = 1 "EnableNonPersistent",
    }
}

enumeration! {
    /// HostResourceType (2.15): kinds of entity.
    HostResourceType {
        Network = 0 "Network",
        Endpoint = 1 "Endpoint",
        Container = 2 "Container",
        Namespace = 3 "Namespace",
        PolicyList = 4 "PolicyList",
    }
}
