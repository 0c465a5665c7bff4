//! The copy that is made of an older store before it becomes today's, so that nobody loses anything to a step that goes wrong, and an
//! older program finds its own form again.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Error, named};

/// Where the copy of a store in an older form lies: `store.form1.sqlite` beside `store.sqlite`.
pub(super) fn place(path: &Path, form: i64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}.form{form}{extension}"))
}

/// Copies a store that has this form, beside it; one that is there already is kept. Does nothing where another program has brought the
/// store to a newer form meanwhile: that program has made the copy.
pub(super) fn keep(connection: &Connection, path: &Path, form: i64) -> Result<(), Error> {
    let target = place(path, form);
    if target.is_file() {
        return Ok(());
    }
    let failed = |reason: String| Error::NoBackup { reason, path: path.to_owned() };
    // Written under a name that nobody else has, and renamed once it is whole. SQLite writes into an empty file.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = tempfile::Builder::new()
        .prefix(".store-copy-")
        .tempfile_in(folder)
        .map_err(|error| failed(error.to_string()))?
        .into_temp_path();
    let name = part.to_str().ok_or_else(|| failed("the folder's name is not Unicode".to_owned()))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| match named(&error, path) {
        error if error.may_pass() => error,
        _ => failed(error.to_string()),
    })?;
    let copied = form_of(&part).map_err(|error| failed(error.to_string()))?;
    if copied != form {
        return Ok(());
    }
    std::fs::File::options()
        .write(true)
        .open(&part)
        .and_then(|file| file.sync_all())
        .and_then(|()| part.persist(&target).map_err(std::io::Error::from))
        .map_err(|error| failed(error.to_string()))
}

/// The form of a store that nobody else has open.
fn form_of(path: &Path) -> Result<i64, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::super::tests::FORM_1;
    use super::super::{FORMAT, Store};
    use super::*;

    fn old_store(folder: &Path) -> PathBuf {
        let path = folder.join("store.sqlite");
        Connection::open(&path).unwrap().execute_batch(FORM_1).unwrap();
        path
    }

    fn count(path: &Path, table: &str) -> i64 {
        let connection = Connection::open(path).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_older_store_is_copied_once_before_it_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = old_store(folder.path());
        let copy = folder.path().join("store.form1.sqlite");
        assert_eq!(Store::open(&path).unwrap().annotations("a").unwrap().len(), 1);
        assert_eq!((form_of(&path).unwrap(), form_of(&copy).unwrap()), (i64::from(FORMAT), 1));
        assert_eq!(count(&copy, "annotation"), 1);
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["store.form1.sqlite", "store.sqlite"], "nothing else is left");
        let before = std::fs::read(&copy).unwrap();
        drop(Store::open(&path).unwrap());
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        assert_eq!(names().len(), 2);
        // Put back, it is a store like any other of its form.
        std::fs::rename(&copy, &path).unwrap();
        assert_eq!(Store::open(&path).unwrap().annotations("a").unwrap().len(), 1);
        assert!(copy.is_file());
    }

    #[test]
    fn two_that_open_an_older_store_at_once_both_find_it_whole() {
        for _round in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let path = old_store(folder.path());
            let start = Arc::new(Barrier::new(2));
            let openers: Vec<_> = (0..2)
                .map(|number| {
                    let (path, start) = (path.clone(), Arc::clone(&start));
                    std::thread::Builder::new()
                        .name(format!("opener-{number}"))
                        .spawn(move || {
                            start.wait();
                            Store::open(&path).unwrap().annotations("a").unwrap().len()
                        })
                        .unwrap()
                })
                .collect();
            for opener in openers {
                assert_eq!(opener.join().unwrap(), 1);
            }
            let copy = folder.path().join("store.form1.sqlite");
            assert_eq!((form_of(&copy).unwrap(), count(&copy, "annotation")), (1, 1));
        }
    }

    #[test]
    fn a_store_that_cannot_be_copied_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = old_store(folder.path());
        std::fs::create_dir(folder.path().join("store.form1.sqlite")).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(error, Error::NoBackup { .. }), "{error}");
        assert!(error.to_string().ends_with("store.sqlite") && !error.may_pass());
        assert_eq!(form_of(&path).unwrap(), 1);
        assert_eq!(count(&path, "annotation"), 1);
    }

    #[test]
    fn a_new_store_has_nothing_to_be_copied() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(&folder.path().join("store.sqlite")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
