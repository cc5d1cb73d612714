//! HostComputeRoute, an SDN route (contract 2.9).

use crate::document::document;
use crate::settings::SdnRouteSettings;

document! {
    /// An SDN route document. One list of routes has two names: the schema says `Routes`, Go clients say `Setting`.
    HostComputeRoute: Base {
        /// GUID of the network; derived from the endpoints when absent.
        host_compute_network: text "HostComputeNetwork",
        /// GUIDs of the endpoints that get the routes.
        host_compute_endpoints: texts "HostComputeEndpoints",
        /// The routes.
        routes: objects(SdnRouteSettings) "Routes",
        /// The same routes under their other name.
        setting: objects(SdnRouteSettings) "Setting",
    }
}

impl HostComputeRoute {
    /// The routes under whichever name they came; `Routes` wins.
    pub fn list(&self) -> &[SdnRouteSettings] {
        if self.routes.is_empty() { &self.setting } else { &self.routes }
    }
}
