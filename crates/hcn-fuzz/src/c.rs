//! What a C program passes to the functions of the libraries, and what they make of it: whatever it is, the service is
//! sent whole messages and nothing else.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use hcn_ipc::frame::Decoder;
use hcn_ipc::fuzzing::{Meaning, meaning};
use serde_json::{Value, json};

/// Octets of a message from a library: a text of 100,000 units, each as JSON writes it at its longest.
const LIMIT: usize = 1 << 20;
const ID: &str = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";

/// What the service was sent that no library may send.
static FOUND: Mutex<Option<String>> = Mutex::new(None);
static SERVICE: OnceLock<()> = OnceLock::new();

pub(crate) fn run(octets: &[u8]) {
    SERVICE.get_or_init(start);
    hcn_c::fuzzing::run(octets);
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner).take();
    assert_eq!(found, None);
}

/// Starts a service that answers everything.
fn start() {
    let folder = std::env::temp_dir();
    let socket = folder.join(format!("hcn-fuzz-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("a socket");
    hcn_c::fuzzing::use_service(&socket);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            thread::spawn(move || serve(stream));
        }
    });
}

fn serve(mut stream: UnixStream) {
    let (mut decoder, mut chunk) = (Decoder::new(LIMIT), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        decoder.extend(&chunk[..read]);
        loop {
            let answer = match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => answer(&frame),
                Err(error) => Err(format!("no message: {error}")),
            };
            match answer {
                Ok(answer) => {
                    let octets = [answer.to_string().as_bytes(), &[0]].concat();
                    if stream.write_all(&octets).is_err() {
                        return;
                    }
                }
                Err(found) => {
                    *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                    return;
                }
            }
        }
    }
}

/// The answer to a message; the error is that a library sent it.
fn answer(frame: &[u8]) -> Result<Value, String> {
    let message: Value = serde_json::from_slice(frame).map_err(|error| error.to_string())?;
    let method = message["method"].as_str().ok_or("a message without a method")?;
    if let Meaning::Unknown = meaning(frame) {
        return Err(format!("nobody knows {message}"));
    }
    // Of long documents every other one is refused.
    let parameters = &message["parameters"];
    if parameters.to_string().len() % 2 == 1 && parameters["text"].is_string() {
        let record =
            json!({"Success": false, "Error": "Refused. ", "ErrorCode": 0x8007_0057_u32}).to_string();
        let failure =
            json!({"hresult": 0x8007_0057_u32, "name": "E_INVALIDARG", "message": "no", "record": record});
        return Ok(json!({"error": "io.hcn.Service.Failed", "parameters": failure}));
    }
    let verb = method.rsplit('.').next().unwrap_or_default();
    let entry = json!({"OwningPartitionId": ID, "TargetPartitionId": ID, "Protocol": 3, "Priority": 0,
        "ReservationType": 1, "SharingFlags": 0, "DeliveryMode": 0, "StartingPort": 1, "EndingPort": 2});
    let given = match verb {
        "OpenSession" => json!({"token": "a"}),
        "Enumerate" => json!({"ids": [ID, ID]}),
        "Create" => json!({"id": ID, "handle": 1}),
        "Open" => json!({"handle": 2}),
        "Query" if method.contains("PortReservation") => json!({"properties": entry}),
        "Query" | "QueryStats" | "QueryAddresses" => json!({"properties": {"Name": "\u{1f600}"}}),
        "Call" => json!({"response": {"Success": true}}),
        _ => json!({}),
    };
    Ok(json!({"parameters": given}))
}
