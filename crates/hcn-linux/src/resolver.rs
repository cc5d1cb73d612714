//! Resolver configurations: `/etc/netns/NAME/resolv.conf`, which `ip netns exec` and container runtimes mount
//! over `/etc/resolv.conf`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hcn_dataplane::Resolver;

use crate::netns::check_name;

/// What a kill while writing may leave.
const UNFINISHED: &str = ".resolv.conf.hcnd";

/// Writes the file in one step: a reader sees the old one or the new one, whole.
pub(crate) fn write(folder: &Path, resolver: &Resolver) -> io::Result<()> {
    let (folder, file) = paths(folder, &resolver.netns)?;
    fs::create_dir_all(&folder)?;
    let new = folder.join(UNFINISHED);
    let written = fs::File::create(&new)
        .and_then(|mut open| open.write_all(resolver.contents.as_bytes()))
        .and_then(|()| fs::rename(&new, &file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
        let _ = fs::remove_dir(&folder);
    }
    written
}

/// The file as it is, if there is one.
pub(crate) fn read(folder: &Path, netns: &str) -> io::Result<Option<String>> {
    match fs::read(paths(folder, netns)?.1) {
        // Bytes that are no text are not what anyone wanted there.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the file, and the folder unless someone else keeps something there.
pub(crate) fn remove(folder: &Path, netns: &str) -> io::Result<()> {
    let (folder, file) = paths(folder, netns)?;
    let _ = fs::remove_file(folder.join(UNFINISHED));
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn paths(folder: &Path, netns: &str) -> io::Result<(PathBuf, PathBuf)> {
    check_name(netns)?;
    let folder = folder.join(netns);
    let file = folder.join("resolv.conf");
    Ok((folder, file))
}
