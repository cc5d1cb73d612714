//! Requests of HNS version 1, as calls and through the door for others.

use hcn_ipc::{HnsVisitor, Limits};
use hcn_schema::HResult;
use hcn_schema::hns::HnsVersion;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::service::{READ_GROUP, Server, Wire, code, create, id, user};

const CALL: &str = "io.hcn.V1.Call";
const DENIED: u64 = 0x8007_0005;

fn asked(method: &str, path: &str) -> Value {
    json!({"method": method, "path": path})
}

async fn version(wire: &mut Wire) -> Value {
    wire.call(CALL, asked("GET", "/globals/version")).await["response"]["Output"].clone()
}

#[tokio::test]
async fn a_request_gets_its_envelope_and_a_refusal_is_in_it() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    for document in [json!({"request": {"A": 1}}), json!({"text": "{\"A\":1}"})] {
        let mut parameters = asked("POST", "/networks/");
        parameters.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
        let response = wire.call(CALL, parameters).await["response"].clone();
        assert_eq!(response["Output"], json!({"ID": id(9), "Path": "/networks/", "Body": {"A": 1}}));
    }
    let response = wire.call(CALL, asked("GET", "/refused/")).await["response"].clone();
    assert_eq!((&response["Success"], &response["ErrorCode"]), (&json!(false), &json!(0x8007_0490_u32)));
    // What is wrong with the call itself is no envelope.
    let reply = wire.reply(CALL, asked("PUT", "/networks/")).await;
    assert_eq!((code(&reply), &reply["parameters"]["path"]), (0x8007_0057, &json!("method")));
    let reply = wire.reply(CALL, json!({"method": "GET"})).await;
    assert_eq!((code(&reply), &reply["parameters"]["path"]), (0x8007_0057, &json!("path")));
    let panics = json!({"method": "POST", "path": "/", "request": {"Panic": 1}});
    assert_eq!(wire.fail(CALL, panics).await, 0x8007_06be);
    let expected = [
        "V1 POST 0x00000000",
        "V1 POST 0x00000000",
        "V1 GET 0x80070490",
        "V1 other 0x80070057",
        "V1 GET 0x80070057",
        "V1 POST 0x800706be",
    ];
    assert_eq!(server.service.answered(), expected);
}

#[tokio::test]
async fn the_method_decides_about_access_and_the_version_is_for_everybody() {
    let stranger = Server::start_for(Limits::default(), &user(1000, &[]));
    let reader = Server::start_for(Limits::default(), &user(1000, &[READ_GROUP]));
    let (mut nobody, mut wire) = (stranger.connect().await, reader.connect().await);
    for wire in [&mut nobody, &mut wire] {
        assert_eq!(version(wire).await, json!({"Major": 16, "Minor": 0}));
        // What is wrong with the parameters is not told either.
        for parameters in [
            asked("POST", "/networks/"),
            asked("DELETE", "/networks/1"),
            asked("MOVE", "/"),
            json!({}),
            json!({"method": "POST", "path": "/globals/version", "request": 7}),
        ] {
            assert_eq!(wire.fail(CALL, parameters.clone()).await, DENIED, "{parameters}");
        }
    }
    wire.call(CALL, asked("GET", "/networks/")).await;
    let reply = nobody.reply(CALL, asked("GET", "/networks/")).await;
    assert_eq!(code(&reply), DENIED);
    let message = "user 1000 may not GET /networks/; root or a member of group hcn or hcn-read may";
    assert_eq!(reply["parameters"]["message"], message);
    assert_eq!(stranger.service.decided(), ["GET /globals/version"]);
    assert_eq!(reader.service.decided(), ["GET /globals/version", "GET /networks/"]);
}

#[tokio::test]
async fn requests_keep_their_place_among_the_calls() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    wire.send(&create(1, &json!({"N": 1, "Delay": 100}))).await;
    for (method, path, request) in [
        ("GET", "/networks/", json!({})),
        ("POST", "/first/", json!({"Delay": 50})),
        ("DELETE", "/second/", json!({})),
        ("GET", "/third/", json!({})),
    ] {
        let parameters = json!({"method": method, "path": path, "request": request});
        wire.send(&json!({"method": CALL, "parameters": parameters})).await;
    }
    wire.send(&json!({"method": "io.hcn.Network.Enumerate"})).await;
    assert_eq!(wire.receive().await.unwrap()["parameters"]["id"], id(1));
    for path in ["/networks/", "/first/", "/second/", "/third/"] {
        assert_eq!(wire.receive().await.unwrap()["parameters"]["response"]["Output"]["Path"], path);
    }
    assert_eq!(wire.receive().await.unwrap()["parameters"]["ids"], json!([id(1)]));
    let decided = server.service.decided();
    let expected =
        ["Create 1", "GET /networks/", "POST /first/", "DELETE /second/", "GET /third/", "Enumerate null"];
    assert_eq!(decided, expected);
}

#[tokio::test]
async fn a_connection_is_served_as_the_version_that_it_asks_for() {
    let server = Server::start(Limits::default());
    let (mut wire, mut other) = (server.connect().await, server.connect().await);
    wire.call("io.hcn.Service.SetHnsVersion", json!({"version": "9.2"})).await;
    assert_eq!(version(&mut wire).await, json!({"Major": 9, "Minor": 2}));
    assert_eq!(version(&mut other).await, json!({"Major": 16, "Minor": 0}));
    for parameters in [
        json!({}),
        json!({"version": "nine"}),
        json!({"version": "9"}),
        json!({"version": "99.0"}),
        json!({"version": 9.2}),
    ] {
        let reply = wire.reply("io.hcn.Service.SetHnsVersion", parameters.clone()).await;
        assert_eq!(code(&reply), 0x8007_0057, "{parameters}");
        assert_eq!(reply["parameters"]["path"], "version", "{parameters}");
    }
    assert_eq!(version(&mut wire).await, json!({"Major": 9, "Minor": 2}));
    // A request that waits keeps the version from before.
    wire.send(&create(1, &json!({"Delay": 50}))).await;
    wire.send(&json!({"method": CALL, "parameters": asked("GET", "/globals/version")})).await;
    let set = json!({"version": "16.0"});
    wire.send(&json!({"method": "io.hcn.Service.SetHnsVersion", "parameters": set})).await;
    wire.receive().await;
    assert_eq!(wire.receive().await.unwrap()["parameters"]["response"]["Output"]["Major"], 9);
    wire.receive().await;
    assert_eq!(version(&mut wire).await, json!({"Major": 16, "Minor": 0}));
}

/// A visitor of the door; the client's end of its connection does not matter.
fn enter(server: &Server) -> hcn_schema::Result<HnsVisitor> {
    server.door.enter(&UnixStream::pair().unwrap().0).unwrap()
}

#[tokio::test]
async fn the_door_has_the_same_access_limits_and_records() {
    let limits = Limits { connections: 2, nesting: 3, ..Limits::default() };
    let server = Server::start_for(limits, &user(1000, &[READ_GROUP]));
    let mut wire = server.connect().await;
    wire.call("io.hcn.Service.Ping", json!({})).await;
    let visitor = enter(&server).unwrap();
    assert_eq!(enter(&server).err().unwrap().code, HResult::LIMIT_EXCEEDED);
    assert_eq!(visitor.limits(), limits);

    let envelope = visitor.admit("GET", "/networks/").unwrap().carry_out(None).await.unwrap();
    assert!(envelope.get().contains("\"Path\":\"/networks/\""), "{}", envelope.get());
    let mut asked = visitor.admit("GET", "/globals/version").unwrap();
    asked.set_version(HnsVersion::new(9, 2));
    let envelope = asked.carry_out(None).await.unwrap();
    assert!(envelope.get().contains(r#"{"Major":9,"Minor":2}"#), "{}", envelope.get());
    assert_eq!(visitor.admit("POST", "/networks/").err().unwrap().code, HResult::ACCESS_DENIED);
    let deep = visitor.admit("GET", "/networks/").unwrap().carry_out(Some("[[[[]]]]".to_owned())).await;
    assert_eq!(deep.unwrap_err().code, HResult::INVALID_JSON);
    // One that is not carried out has never been.
    drop(visitor.admit("GET", "/networks/").unwrap());
    let broken = visitor.admit("GET", "/").unwrap().carry_out(Some("{\"Panic\":1}".to_owned())).await;
    assert_eq!(broken.unwrap_err().code, HResult::CALL_FAILED);

    let codes = [0, 0, 0x8007_0005_u32, 0x803b_001b, 0x8007_06be];
    let verbs = ["GET", "GET", "POST", "GET", "GET"];
    let expected: Vec<String> =
        verbs.iter().zip(codes).map(|(verb, code)| format!("V1 {verb} 0x{code:08x}")).collect();
    assert_eq!(server.service.answered(), expected);
    drop(visitor);
    enter(&server).unwrap();
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_carried_out_and_waited_for_at_shutdown() {
    let mut server = Server::start(Limits::default());
    let visitor = enter(&server).unwrap();
    let asked = visitor.admit("POST", "/networks/").unwrap();
    let given_up = tokio::spawn(asked.carry_out(Some("{\"Delay\":200}".to_owned())));
    tokio::task::yield_now().await;
    given_up.abort();
    server.stop();
    server.door.closed().await;
    assert_eq!(visitor.admit("GET", "/networks/").err().unwrap().code, HResult::MANAGER_STOPPED);
    server.task.await.unwrap();
    assert_eq!(server.service.answered(), ["V1 GET 0x803b0020", "V1 POST 0x00000000"]);
}
