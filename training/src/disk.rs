//! The free room of a disk, for a run that is looked through and for the window beside one that goes on.

use std::path::Path;

/// Bytes that are free where a folder lies, or will lie; `None` where the system does not say.
#[cfg(unix)]
pub fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir()).filter(|f| !f.as_os_str().is_empty());
    let disk = rustix::fs::statvfs(there.unwrap_or(Path::new("."))).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that are free where a folder lies, or will lie; `None` where the system does not say.
#[cfg(not(unix))]
pub fn free(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_folder_that_is_not_there_yet_is_that_of_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(folder.path()).is_some_and(|bytes| bytes > 0));
        assert!(free(&folder.path().join("not/there/yet")).is_some_and(|bytes| bytes > 0));
        assert!(free(Path::new("not/there/either")).is_some());
    }
}
