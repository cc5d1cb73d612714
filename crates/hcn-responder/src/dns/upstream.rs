//! The servers that the host itself asks (resolv.conf(5)), read again when the file changes.

use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::message::HEADER;
use super::{Header, Query};

const PORT: u16 = 53;
/// As many as the C library takes.
const MOST: usize = 3;

/// The file and what it said when it was looked at.
#[derive(Debug)]
pub(crate) struct Upstream {
    file: PathBuf,
    /// Of the file as it was read: when it was changed, how long it was, and which it was.
    stamp: Option<(SystemTime, u64, u64)>,
    servers: Vec<SocketAddr>,
}

impl Upstream {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), stamp: None, servers: Vec::new() }
    }

    /// The servers, the first first.
    pub(crate) fn servers(&mut self) -> &[SocketAddr] {
        let stamp = fs::metadata(&self.file)
            .and_then(|metadata| Ok((metadata.modified()?, metadata.len(), metadata.ino())))
            .inspect_err(|error| tracing::debug!(%error, file = %self.file.display(), "no servers for names"))
            .ok();
        if stamp.is_none() || stamp != self.stamp {
            let text = stamp.and_then(|_| fs::read_to_string(&self.file).ok()).unwrap_or_default();
            self.servers = listed(&text);
            self.stamp = stamp;
        }
        &self.servers
    }
}

fn listed(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        server(words.next()?)
    });
    servers.take(MOST).collect()
}

/// An address, of IPv6 perhaps with the link that it is on.
fn server(word: &str) -> Option<SocketAddr> {
    let Some((address, link)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, PORT));
    };
    let scope = link.parse().ok().or_else(|| nix::net::if_::if_nametoindex(link).ok())?;
    Some(SocketAddr::V6(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope)))
}

/// Whether a message answers a question that was asked with this identifier: who does not know both has guessed.
pub(crate) fn is_answer(message: &[u8], query: &Query<'_>, id: u16) -> bool {
    let Some(header) = Header::read(message) else { return false };
    let asked = message.get(HEADER..HEADER + query.question.len());
    // A server may refuse a question without repeating it.
    let same = match asked {
        Some(asked) => asked.eq_ignore_ascii_case(query.question),
        None => message.len() == HEADER && header.code() != 0,
    };
    header.is_answer() && header.id == id && same
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::message::tests::question;
    use super::*;

    #[test]
    fn servers_are_read_again_when_the_file_changes() {
        let file = std::env::temp_dir().join(format!("hcn-responder-{}", std::process::id()));
        let mut upstream = Upstream::new(&file);
        assert_eq!(upstream.servers(), &[]);
        fs::write(&file, "# comment\nsearch a.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
            .unwrap();
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53"].map(|text| text.parse().unwrap());
        assert_eq!(upstream.servers(), expected);
        let more = b"nameserver fe80::1%7\nnameserver what\nnameserver 192.0.2.54\n";
        fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(more).unwrap();
        assert_eq!(upstream.servers()[2], "[fe80::1%7]:53".parse().unwrap());
        assert_eq!(upstream.servers().len(), 3);
        fs::remove_file(&file).unwrap();
        assert_eq!(upstream.servers(), &[]);
    }

    #[test]
    fn an_answer_has_the_identifier_and_the_question() {
        let asked = question("web.test", 1);
        let query = Query::read(&asked).unwrap();
        let mut right = question("WEB.test", 1);
        right[2] = 0x81;
        assert!(is_answer(&right, &query, 0x1234));
        assert!(!is_answer(&right, &query, 0x1235));
        assert!(!is_answer(&asked, &query, 0x1234), "a question");
        assert!(!is_answer(&right[..20], &query, 0x1234), "cut off");
        let mut other = question("web.tesu", 1);
        other[2] = 0x81;
        assert!(!is_answer(&other, &query, 0x1234));
        assert!(is_answer(&[0x12, 0x34, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0], &query, 0x1234));
        assert!(!is_answer(&[0x12, 0x34, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0], &query, 0x1234));
    }
}
