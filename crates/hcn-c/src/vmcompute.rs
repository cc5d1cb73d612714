//! HNSCall, by which programs speak version 1 (contract 5).

use crate::memory::{self, Out};
use crate::{Code, Text, TextOut, answer, session};

/// HNSCall: the response is the envelope, also of what the service refuses.
///
/// # Safety
/// Texts are null or end with a NUL, the place is null or valid.
pub unsafe fn call(method: Text, path: Text, request: Text, response: TextOut) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let mut response = unsafe { Out::new(response) }?;
        // SAFETY: the caller's word.
        let (method, path, request) =
            unsafe { (memory::needed(method)?, memory::needed(path)?, memory::read(request)?) };
        let request = request.filter(|request| !request.is_empty());
        let ask = |connection: &mut session::Connection| {
            Ok(connection.client.hns(&method, &path, request.as_deref())?)
        };
        let envelope =
            if method.eq_ignore_ascii_case("GET") { session::read(ask) } else { session::with(ask) }?;
        response.set(memory::give(envelope.get())?);
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(std::ptr::null_mut(), work) }
}
