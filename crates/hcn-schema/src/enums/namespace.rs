//! Enumerations of namespaces (contract 2.7).

use super::enumeration::enumeration;

enumeration! {
    /// NamespaceType (2.7).
    NamespaceType {
        Host = 0 "Host",
        HostDefault = 1 "HostDefault",
        Guest = 2 "Guest",
        GuestDefault = 3 "GuestDefault",
    }
}

enumeration! {
    /// Kinds of namespace resources (2.7).
    NamespaceResourceType {
        Container = 0 "Container",
        Endpoint = 1 "Endpoint",
    }
}
