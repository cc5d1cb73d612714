//! Ports that the kernel does not choose for the host's programs: `ip_local_reserved_ports`, a list that others write
//! into, too.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};

use hcn_dataplane::ReservedPorts;

/// Octets that are more than any list has: every other port by itself.
const ROOM: usize = 1 << 19;

const LIST: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Which ports are on the list because of hcnd.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    /// What was put onto the list for each range; ports that were there before are others'.
    added: HashMap<ReservedPorts, Ports>,
}

impl Reserved {
    /// Puts a range onto the list.
    pub(crate) fn add(&mut self, range: ReservedPorts) -> io::Result<()> {
        let mut list = read()?;
        // Where somebody has taken a part away, the rest is hcnd's still.
        let mut added = self.added.get(&range).cloned().unwrap_or_default();
        for port in range.first..=range.last {
            if !list.contains(port) {
                added.set(port, true);
                list.set(port, true);
            }
        }
        write(&list)?;
        self.added.insert(range, added);
        Ok(())
    }

    /// Takes a range off the list; all of it where an earlier run put it there.
    pub(crate) fn remove(&mut self, range: ReservedPorts) -> io::Result<()> {
        let mut list = read()?;
        let added = self.added.get(&range);
        for port in range.first..=range.last {
            if added.is_none_or(|added| added.contains(port)) {
                list.set(port, false);
            }
        }
        write(&list)?;
        self.added.remove(&range);
        Ok(())
    }

    /// Whether all of a range is on the list.
    pub(crate) fn holds(range: ReservedPorts) -> bool {
        read().is_ok_and(|list| (range.first..=range.last).all(|port| list.contains(port)))
    }
}

/// A set of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(Vec<bool>);

impl Default for Ports {
    fn default() -> Self {
        Self(vec![false; usize::from(u16::MAX) + 1])
    }
}

impl Ports {
    fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port)]
    }

    fn set(&mut self, port: u16, value: bool) {
        self.0[usize::from(port)] = value;
    }

    /// Reads `8080,9000-9010`.
    fn parse(text: &str) -> Option<Self> {
        let mut ports = Self::default();
        for word in text.trim().split(',').filter(|word| !word.is_empty()) {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            (first..=last).for_each(|port| ports.set(port, true));
        }
        Some(ports)
    }

    fn text(&self) -> String {
        let mut words = Vec::new();
        let mut first = None;
        for port in 0..=u16::MAX {
            match (first, self.contains(port)) {
                (None, true) => first = Some(port),
                (Some(start), false) => {
                    words.push(word(start, port - 1));
                    first = None;
                }
                _ => {}
            }
        }
        words.extend(first.map(|start| word(start, u16::MAX)));
        words.join(",")
    }
}

fn word(first: u16, last: u16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn read() -> io::Result<Ports> {
    // The kernel gives the list to the first read alone, as much of it as there is room for.
    let mut text = vec![0; ROOM];
    let length = fs::File::open(LIST)?.read(&mut text)?;
    let text = text.get(..length).filter(|text| text.len() < ROOM);
    let ports = text.and_then(|text| std::str::from_utf8(text).ok()).and_then(Ports::parse);
    ports.ok_or_else(|| io::Error::other(format!("{LIST} does not read")))
}

fn write(list: &Ports) -> io::Result<()> {
    // The kernel takes an empty list only as a line.
    fs::write(LIST, format!("{}\n", list.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_as_it_is_written() {
        for text in ["", "8080", "1-3,7,65530-65535", "0,49152-53247"] {
            assert_eq!(Ports::parse(&format!("{text}\n")).unwrap().text(), text);
        }
        assert_eq!(Ports::parse("1-2,3,5").unwrap().text(), "1-3,5");
        assert!(Ports::parse("a-b").is_none());
    }
}
