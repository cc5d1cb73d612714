//! What did the service answer? Replies taken apart, the same for the blocking and the async client.

use hcn_ipc::frame::Decoder;
use hcn_ipc::message::{FAILED, Failure, Reply};
use hcn_ipc::params::{DISCONNECT, EventReply};
use serde_json::value::RawValue;

use crate::{Error, Result};

/// Bytes of a reply: the answer to Enumerate of a million entities is 40 MB.
const LIMIT: usize = 256 << 20;

/// Bytes that are read at once.
pub(crate) const CHUNK: usize = 16 << 10;

/// A decoder for replies.
pub(crate) fn decoder() -> Decoder {
    Decoder::new(LIMIT)
}

/// The next reply, if it is complete.
pub(crate) fn next(decoder: &mut Decoder) -> Result<Option<Result<Box<RawValue>>>> {
    Ok(next_of_several(decoder)?.map(|(outcome, _)| outcome))
}

/// The next reply, if it is complete, and whether another one to the same call follows.
pub(crate) fn next_of_several(decoder: &mut Decoder) -> Result<Option<(Result<Box<RawValue>>, bool)>> {
    let frame = decoder.next_frame().map_err(|error| Error::Protocol(error.to_string()))?;
    frame
        .map(|frame| {
            let reply = Reply::parse(&frame);
            let reply = reply.map_err(|error| Error::Protocol(format!("not a reply: {error}")))?;
            Ok((outcome(&reply)?, reply.continues && reply.error.is_none()))
        })
        .transpose()
}

/// The inner result is the service's, the outer one whether there is any.
fn outcome(reply: &Reply<'_>) -> Result<Result<Box<RawValue>>> {
    let parameters = || match reply.parameters {
        Some(parameters) => parameters.to_owned(),
        None => RawValue::NULL.to_owned(),
    };
    let Some(error) = &reply.error else { return Ok(Ok(parameters())) };
    if error != FAILED {
        return Ok(Err(Error::Refused {
            error: error.to_string(),
            parameters: parameters().get().to_owned(),
        }));
    }
    let mut failure: Failure = serde_json::from_str(parameters().get())
        .map_err(|error| Error::Protocol(format!("not a failure: {error}")))?;
    let record = std::mem::take(&mut failure.record);
    Ok(Err(Error::Failed { error: failure.into(), record }))
}

/// Reads an event; true when it is the last one.
pub(crate) fn event(parameters: &RawValue) -> Result<(EventReply, bool)> {
    let event: EventReply = crate::request::read(parameters)?;
    let last = event.notification == Some(DISCONNECT);
    Ok((event, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Result<Box<RawValue>>> {
        let mut decoder = decoder();
        decoder.extend(&[text.as_bytes(), b"\0"].concat());
        Ok(next(&mut decoder)?.unwrap())
    }

    #[test]
    fn replies_failures_and_refusals_are_told_apart() {
        assert_eq!(parse(r#"{"parameters":{"a": 1.0}}"#).unwrap().unwrap().get(), r#"{"a": 1.0}"#);
        assert_eq!(parse("{}").unwrap().unwrap().get(), "null");
        let failed = r#"{"error":"io.hcn.Service.Failed","parameters":{"hresult":2151350273,"name":"N",
            "message":"none","path":"id","record":"{}"}}"#;
        let error = parse(failed).unwrap().unwrap_err();
        assert!(matches!(&error, Error::Failed { error, record }
            if error.code.0 == 0x803b_0001 && error.path.as_deref() == Some("id") && record == "{}"));
        let refused = r#"{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"a.B"}}"#;
        assert!(matches!(parse(refused).unwrap().unwrap_err(), Error::Refused { .. }));
        for nonsense in ["", "[]", r#"{"error":"io.hcn.Service.Failed","parameters":{}}"#] {
            assert!(matches!(parse(nonsense), Err(Error::Protocol(_))), "{nonsense}");
        }
    }
}
