//! Version 1 of the documents, the flat form that HNS had before HCN: another view of the same records (contract 2.16, 5).

use hcn_schema::base::Version;
use hcn_schema::call::Kind;
use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::load_balancer::HostComputeLoadBalancer;
use hcn_schema::namespace::HostComputeNamespace;
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::sdn_route::HostComputeRoute;
use hcn_schema::{Error, HResult, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A document that has a version 1 form.
pub(crate) trait Versioned: DeserializeOwned {
    /// Reads the version 1 form.
    fn from_v1(text: &str) -> Result<Self>;
}

/// The version that a document says it has.
pub(crate) fn version_of(text: &str) -> Result<Option<Version>> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "SchemaVersion")]
        version: Option<Version>,
    }
    Ok(hcn_schema::parse::<Probe>(text)?.version)
}

/// The error with the path that its place has in the document that the client sent.
pub(crate) fn own_path(_kind: Kind, _document: Option<&str>, error: Error) -> Error {
    error
}

macro_rules! later {
    ($($document:ty),*) => {$(
        impl Versioned for $document {
            fn from_v1(_: &str) -> Result<Self> {
                Err(Error::new(HResult::REQUEST_UNSUPPORTED, "version 1").at("SchemaVersion"))
            }
        }
    )*};
}
later!(
    HostComputeNetwork,
    HostComputeEndpoint,
    HostComputeNamespace,
    HostComputeLoadBalancer,
    HostComputeRoute
);
