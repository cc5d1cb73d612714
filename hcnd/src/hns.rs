//! What does a request of HNS version 1 do? [`rest`] says; here it is done.

use std::sync::PoisonError;

use hcn_core::v1::rest::{self, Accelnet, Asked, Then};
use hcn_ipc::{Caller, Later, Service as _};
use hcn_schema::call::{Answer, Call, HnsRequest, Verb};
use hcn_schema::{Guid, HResult, Raw, Result};

use crate::service::Service;

/// Answers a request with its envelope (contract 5.1). What it asks for is read or queued at once.
pub(crate) fn answer(service: Service, caller: &Caller, request: &HnsRequest) -> Later<Raw> {
    let HnsRequest { method, path, .. } = request;
    tracing::debug!(%method, %path, uid = caller.uid, pid = caller.pid, hns = %caller.hns, "version 1");
    let asked = rest::asked(&service.published(), caller.hns, request);
    let output: Later<Result<Option<Raw>>> = match asked {
        Ok(Asked::Output(output)) => Box::pin(std::future::ready(Ok(Some(output)))),
        Ok(Asked::Accelnet(change)) => Box::pin(std::future::ready(Ok(Some(accelnet(&service, change))))),
        Ok(Asked::Call { call, then }) => carry_out(service, caller, call, then),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    };
    Box::pin(async move {
        match output.await {
            Ok(output) => rest::success(output.as_ref()),
            Err(error) => rest::failure(&error),
        }
    })
}

fn carry_out(service: Service, caller: &Caller, call: Call, then: Then) -> Later<Result<Option<Raw>>> {
    let (kind, target) = (call.kind, target(&call));
    let otherwise = match then {
        Then::Otherwise(kind) => Some((caller.clone(), Call { kind, verb: call.verb.clone() })),
        _ => None,
    };
    let pending = service.call(caller, call);
    Box::pin(async move {
        let answer = match (pending.await, otherwise) {
            (Err(error), Some((caller, call))) if error.code == HResult::NOT_FOUND => {
                service.call(&caller, call).await?
            }
            (answer, _) => answer?,
        };
        Ok(match (then, answer) {
            (Then::Output(output), _) => Some(output),
            (Then::Answer, Answer::Document(document)) => Some(document),
            // Somebody may have deleted it by now.
            (Then::Document, Answer::Entity { id, .. }) => rest::document(&service.published(), kind, id),
            (Then::Document, _) => target.and_then(|id| rest::document(&service.published(), kind, id)),
            (Then::Nothing | Then::Otherwise(_) | Then::Answer, _) => None,
        })
    })
}

/// The entity that a call changes.
fn target(call: &Call) -> Option<Guid> {
    match &call.verb {
        Verb::Act { target, .. } | Verb::Modify { target, .. } => Some(target.id),
        _ => None,
    }
}

fn accelnet(service: &Service, change: Accelnet) -> Raw {
    let mut addresses = service.accelnet.lock().unwrap_or_else(PoisonError::into_inner);
    match change {
        Accelnet::Get => {}
        Accelnet::Set(new) => *addresses = new,
        Accelnet::Clear => addresses.clear(),
    }
    rest::accelnet(&addresses)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hcn_core::Settings;
    use hcn_dataplane::Fake;
    use hcn_ipc::Hub;
    use hcn_schema::hns::HnsVersion;
    use hcn_store::{Loaded, Store};

    use super::*;
    use crate::state::Restored;
    use crate::status::Probe;
    use crate::worker::Worker;

    /// A service without records over a kernel in memory.
    async fn service() -> Service {
        let (worker, _thread) = Worker::start(Box::new(Fake::new())).unwrap();
        Service::start(
            worker,
            Restored::from_store(Store::in_memory().unwrap(), Loaded::default()),
            Hub::default(),
            Settings::default(),
            Probe::none(),
        )
        .await
    }

    async fn envelope(service: &Service, method: &str, path: &str, body: &str) -> String {
        let caller = Caller { uid: 0, gid: 0, groups: Arc::new([]), pid: None, hns: HnsVersion::new(15, 4) };
        let request =
            HnsRequest { method: method.to_owned(), path: path.to_owned(), body: Some(body.to_owned()) };
        answer(service.clone(), &caller, &request).await.get().to_owned()
    }

    /// The text member of an envelope's output.
    fn member(envelope: &str, name: &str) -> String {
        let start = envelope.find(&format!("\"{name}\":\"")).expect("the member") + name.len() + 4;
        envelope[start..].split('"').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_request_is_carried_out_and_answered_in_an_envelope() {
        let service = service().await;
        let call = async |method: &str, path: &str, body: &str| envelope(&service, method, path, body).await;
        assert_eq!(
            call("GET", "/globals/version", "").await,
            r#"{"Success":true,"Output":{"Major":15,"Minor":4}}"#
        );
        assert_eq!(call("GET", "/networks/", "").await, r#"{"Success":true,"Output":[]}"#);
        let made = call(
            "POST",
            "/networks/",
            r#"{"Name":"nat","Type":"nat","Subnets":[{"AddressPrefix":"192.0.2.0/24"}]}"#,
        )
        .await;
        assert!(made.starts_with(r#"{"Success":true,"Output":{"ID":""#), "{made}");
        let network = member(&made, "ID");
        let made = call("POST", "/endpoints/", r#"{"Name":"web","VirtualNetworkName":"nat"}"#).await;
        let endpoint = member(&made, "ID");
        assert_eq!(member(&made, "VirtualNetwork"), network);
        assert_eq!(member(&made, "IPAddress"), "192.0.2.2");

        let host = r#"{"SystemType":"Host","CompartmentId":1}"#;
        let attach = format!("/endpoints/{endpoint}/attach");
        assert_eq!(call("POST", &attach, host).await, r#"{"Success":true}"#);
        assert_eq!(
            call("POST", &attach, host).await,
            r#"{"Success":false,"Error":"This endpoint is already attached to the switch. ","ErrorCode":2151350292}"#
        );
        let stats = call("GET", &format!("/endpointstats/{endpoint}"), "").await;
        assert_eq!(member(&stats, "EndpointId"), endpoint);
        let addresses = call("GET", &format!("/endpointaddresses/{endpoint}"), "").await;
        assert_eq!(member(&addresses, "IpAddress"), "192.0.2.2");
        let changed =
            call("POST", &format!("/endpoints/{endpoint}"), r#"{"DNSServerList":"192.0.2.53"}"#).await;
        assert_eq!(member(&changed, "DNSServerList"), "192.0.2.53");

        let deleted = call("DELETE", &format!("/endpoints/{endpoint}"), "").await;
        assert_eq!(member(&deleted, "ID"), endpoint);
        assert_eq!(
            call("DELETE", &format!("/endpoints/{endpoint}"), "").await,
            r#"{"Success":false,"Error":"The endpoint was not found. ","ErrorCode":2151350274}"#
        );
    }

    #[tokio::test]
    async fn namespaces_and_policy_lists_have_paths_of_their_own() {
        let service = service().await;
        let call = async |method: &str, path: &str, body: &str| envelope(&service, method, path, body).await;
        call("POST", "/networks/", r#"{"Name":"nat","Subnets":[{"AddressPrefix":"192.0.2.0/24"}]}"#).await;
        let endpoint = member(&call("POST", "/endpoints/", r#"{"VirtualNetworkName":"nat"}"#).await, "ID");
        let namespace = member(&call("POST", "/namespaces/", "{}").await, "ID");
        let resource = format!(r#"{{"Type":"Endpoint","Data":{{"Id":"{endpoint}"}}}}"#);
        let added = call("POST", &format!("/namespaces/{namespace}/addresource"), &resource).await;
        assert!(added.contains(&format!(r#""ResourceList":[{resource}]"#)), "{added}");
        call("POST", &format!("/namespaces/{namespace}/removeresource"), &resource).await;
        call("DELETE", &format!("/namespaces/{namespace}"), "").await;
        assert_eq!(
            call("GET", &format!("/namespaces/{namespace}"), "").await,
            r#"{"Success":false,"Error":"Element not found. ","ErrorCode":2147943568}"#
        );
        for policy in [
            r#"{"Type":"ELB","Protocol":6,"InternalPort":8080,"ExternalPort":80,"VIPs":["198.51.100.200"]}"#,
            r#"{"Type":"ROUTE","DestinationPrefix":"198.51.100.0/24","NextHop":"192.0.2.1"}"#,
        ] {
            let list = format!(r#"{{"References":["/endpoints/{endpoint}"],"Policies":[{policy}]}}"#);
            let made = call("POST", "/policylists/", &list).await;
            assert!(made.contains(policy), "{made}");
            let path = format!("/policylists/{}", member(&made, "ID"));
            assert_eq!(call("GET", &path, "").await, made);
            assert_eq!(call("DELETE", &path, "").await, made);
            assert!(call("GET", &path, "").await.contains("Element not found. "));
        }
    }

    #[tokio::test]
    async fn the_list_of_mac_addresses_is_kept() {
        let service = service().await;
        let call = async |method: &str, body: &str| envelope(&service, method, "/accelnet/", body).await;
        let list =
            r#"{"MacAddressList":[{"MacAddress":"00-15-5D-0A-B7-C6"},{"MacAddress":"00-15-5D-38-01-00"}]}"#;
        let (two, none) = (
            format!(r#"{{"Success":true,"Output":{list}}}"#),
            r#"{"Success":true,"Output":{"MacAddressList":[]}}"#,
        );
        assert_eq!(call("POST", list).await, two);
        assert_eq!(call("GET", "").await, two);
        assert_eq!(call("DELETE", "").await, none);
        assert_eq!(call("GET", "").await, none);
    }
}
