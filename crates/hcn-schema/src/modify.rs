//! Modify requests (contract 2.12).

use serde::Deserialize;

use crate::enums::{Enumeration, ModifyRequestType, OneOf};
use crate::network::Subnet;
use crate::policy::Policy;
use crate::{Error, HResult, Raw, Result, given};

/// A request to modify a resource of kind `R`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(bound(deserialize = "R: Enumeration"))]
pub struct ModifyRequest<R> {
    #[serde(rename = "ResourceType", default = "none", deserialize_with = "given::choice")]
    resource_type: Option<OneOf<R>>,
    #[serde(rename = "RequestType", default, deserialize_with = "given::choice")]
    request_type: Option<OneOf<ModifyRequestType>>,
    /// What the resource shall be, raw.
    #[serde(rename = "Settings", default, deserialize_with = "given::settings")]
    pub settings: Option<Raw>,
}

fn none<T>() -> Option<T> {
    None
}

impl<R: Enumeration> ModifyRequest<R> {
    /// What to do to which resource. Absent = the zero enumerator.
    ///
    /// # Errors
    /// [`HResult::REQUEST_UNSUPPORTED`] for names that the contract does not have.
    pub fn target(&self) -> Result<(R, ModifyRequestType)> {
        Ok((
            known(self.resource_type.as_ref(), "ResourceType")?,
            known(self.request_type.as_ref(), "RequestType")?,
        ))
    }

    /// The settings as a document of type `T`.
    ///
    /// # Errors
    /// [`HResult::INVALID_JSON`] when they are missing or of another shape.
    pub fn settings<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        let Some(settings) = &self.settings else {
            return Err(Error::new(HResult::INVALID_JSON, "the request has no settings")
                .at("Settings")
                .expected("an object"));
        };
        crate::parse(settings.get()).map_err(|error| error.within("Settings"))
    }
}

fn known<T: Enumeration>(value: Option<&OneOf<T>>, path: &str) -> Result<T> {
    match value {
        None => Ok(T::VALUES[0].0),
        Some(OneOf::Known(value)) => Ok(*value),
        Some(OneOf::Unknown(text)) => {
            Err(Error::new(HResult::REQUEST_UNSUPPORTED, format!("there is no {path} {text:?}"))
                .at(path)
                .expected(T::names()))
        }
    }
}

/// Settings of a policy request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(bound(deserialize = "T: Enumeration"))]
pub struct PolicyRequest<T> {
    /// The policies to add, remove or update.
    #[serde(rename = "Policies", default = "Vec::new", deserialize_with = "given::objects")]
    pub policies: Vec<Policy<T>>,
}

/// Settings of a subnet request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SubnetRequest {
    /// The subnets to add or remove.
    #[serde(rename = "Subnets", default, deserialize_with = "given::objects")]
    pub subnets: Vec<Subnet>,
}

/// Settings of a request about an endpoint of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NamespaceEndpointRequest {
    /// GUID of the endpoint.
    #[serde(rename = "EndpointId", default, deserialize_with = "given::text")]
    pub endpoint_id: Option<String>,
}

/// Settings of a request about a container of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NamespaceContainerRequest {
    /// Identifier of the container, any text.
    #[serde(rename = "ContainerId", default, deserialize_with = "given::text")]
    pub container_id: Option<String>,
}
