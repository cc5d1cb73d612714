//! What is in a message? Calls and replies of Varlink, and the one error of the io.hcn interfaces.

use std::borrow::Cow;

use hcn_schema::{Error, HResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::frame;

/// The error of every io.hcn method.
pub const FAILED: &str = "io.hcn.Service.Failed";

/// A call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call<'a> {
    /// Interface and method, as `io.hcn.Network.Create`.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The parameters, an object.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<&'a RawValue>,
    /// No reply is wanted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// Several replies are welcome.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
}

/// A reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// The results, or the parameters of the error.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<&'a RawValue>,
    /// Another reply to the same call follows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
    /// The error's name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
}

impl<'a> Call<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// serde_json's, when it is not a call.
    pub fn parse(message: &'a [u8]) -> serde_json::Result<Self> {
        object(message)
    }
}

impl<'a> Reply<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// serde_json's, when it is not a reply.
    pub fn parse(message: &'a [u8]) -> serde_json::Result<Self> {
        object(message)
    }
}

/// serde would also take an array for a structure, member by member.
fn object<'a, T: Deserialize<'a>>(message: &'a [u8]) -> serde_json::Result<T> {
    if message.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(serde::de::Error::custom("it is not a JSON object"));
    }
    serde_json::from_slice(message)
}

/// Parameters of [`FAILED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The code.
    pub hresult: u32,
    /// Its symbolic name.
    pub name: String,
    /// What went wrong in this very call.
    pub message: String,
    /// Where in the parameters or the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What would have been right there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The ErrorRecord as a JSON text.
    pub record: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            hresult: error.code.0,
            name: error.code.name().to_owned(),
            message: error.message.clone(),
            path: error.path.clone(),
            expected: error.expected.clone(),
            record: hcn_schema::to_text(&error.record()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self {
            code: HResult(failure.hresult),
            message: failure.message,
            path: failure.path,
            expected: failure.expected,
        }
    }
}

/// Writes a call as a frame.
///
/// # Errors
/// serde_json's, when the parameters cannot be written as JSON.
pub fn call<P: Serialize + ?Sized>(method: &str, parameters: &P, more: bool) -> serde_json::Result<Vec<u8>> {
    let parameters = serde_json::value::to_raw_value(parameters)?;
    let call = Call { method: method.into(), parameters: Some(&parameters), oneway: false, more };
    serde_json::to_vec(&call).map(frame::end)
}

/// Writes a reply as a frame.
pub(crate) fn reply<P: Serialize>(parameters: &P, continues: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Reply<'a, P> {
        parameters: &'a P,
        #[serde(skip_serializing_if = "is_false")]
        continues: bool,
    }
    written(&Reply { parameters, continues })
}

/// Bytes of a client's text that a reply or a log repeats.
const REPEATED: usize = 4096;

/// The error with its texts cut to a length that many replies can have: they may repeat what the client wrote.
pub(crate) fn shortened(mut error: Error) -> Error {
    shorten(&mut error.message);
    error.path.as_mut().map(shorten);
    error.expected.as_mut().map(shorten);
    error
}

/// Cuts a text to what may be repeated.
pub(crate) fn shorten(text: &mut String) {
    if text.len() > REPEATED {
        let end = (0..=REPEATED).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// Writes [`FAILED`] as a frame.
pub(crate) fn failure(error: &Error) -> Vec<u8> {
    refusal(FAILED, &Failure::from(error))
}

/// Writes an error as a frame.
pub(crate) fn refusal<P: Serialize>(error: &str, parameters: &P) -> Vec<u8> {
    #[derive(Serialize)]
    struct Refusal<'a, P> {
        error: &'a str,
        parameters: &'a P,
    }
    written(&Refusal { error, parameters })
}

fn written<T: Serialize>(message: &T) -> Vec<u8> {
    // Replies are made of texts, numbers and raw JSON, which always serialise.
    frame::end(serde_json::to_vec(message).unwrap_or_default())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_call_are_kept_byte_for_byte() {
        let text = r#"{"method":"a.B","parameters":{"settings": {"b":1.0, "a":1, "a":2}},"more":true}"#;
        let call = Call::parse(text.as_bytes()).unwrap();
        assert_eq!(call.parameters.unwrap().get(), r#"{"settings": {"b":1.0, "a":1, "a":2}}"#);
        assert!(call.more && !call.oneway);
        assert!(Call::parse(br#"["a.B"]"#).is_err());
    }

    #[test]
    fn long_texts_of_a_client_are_repeated_in_part() {
        let error = shortened(Error::new(HResult::INVALID_JSON, "é".repeat(1 << 20)).at("p".repeat(5000)));
        assert!(error.message.len() < 5000 && error.message.ends_with('…'));
        assert!(error.path.unwrap().len() < 4200);
    }

    #[test]
    fn a_failure_carries_the_error_record() {
        let error = Error::new(HResult::INVALID_IP, "outside").at("IpConfigurations[0]").expected("another");
        let frame = failure(&error);
        let reply: Reply = serde_json::from_slice(&frame[..frame.len() - 1]).unwrap();
        assert_eq!(reply.error.as_deref(), Some(FAILED));
        let failure: Failure = serde_json::from_str(reply.parameters.unwrap().get()).unwrap();
        assert_eq!(failure.hresult, 0x803b_001e);
        assert_eq!(failure.name, "HCN_E_INVALID_IP");
        assert!(failure.record.starts_with(r#"{"Success":false,"Error":"IP address is either"#));
        assert_eq!(Error::from(failure), error);
    }
}
