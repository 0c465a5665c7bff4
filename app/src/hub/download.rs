//! From the server to the disk: what is missing of each file, verified, then published under its name.

use std::io::{self, Read as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::client::{Client, Remote};
use super::destination::{self, Destination, make_folder_of};
use super::lock::Lock;
use super::partial::Partial;
use super::{Error, Fetched, News, Settings, Wanted};

/// How long to wait after each failure in a row without a new byte; after the last one it is told.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Fetches what is wanted and not there.
pub(super) fn fetch(
    settings: &Settings,
    wanted: &Wanted,
    news: &mut dyn FnMut(News<'_>),
) -> Result<Fetched, Error> {
    let client = Client::new(settings, &wanted.repository);
    let listing = patiently(|| client.list(&wanted.revision))?;
    let names: Vec<&String> = listing.files.iter().filter(|name| wanted.includes(name)).collect();
    if names.is_empty() {
        return Err(Error::NothingIncluded { repository: wanted.repository.to_string() });
    }
    let remotes = names
        .into_iter()
        .map(|name| patiently(|| client.describe(&listing.commit, name)))
        .collect::<Result<Vec<Remote>, Error>>()?;
    let destination = match &wanted.output {
        Some(folder) => Destination::Folder(folder.clone()),
        None => Destination::Cache {
            repository_folder: destination::in_cache(&settings.cache, &wanted.repository),
            commit: listing.commit.clone(),
        },
    };
    // Sizes are what a server says: their sum need not be a number.
    let bytes = remotes.iter().fold(0_u64, |bytes, remote| bytes.saturating_add(remote.bytes));
    news(News::Begun { commit: &listing.commit, files: remotes.len(), bytes });
    let mut meter = Meter { bytes: 0, fetched: 0, news };
    for remote in &remotes {
        meter.tell(News::File { name: &remote.name });
        let before = meter.fetched;
        have(&client, remote, &destination, &mut meter)?;
        destination.publish(remote)?;
        let fetched = meter.fetched - before;
        meter.tell(News::Have { name: &remote.name, bytes: remote.bytes, fetched });
    }
    destination.note(&wanted.revision)?;
    Ok(Fetched {
        folder: destination.folder(),
        commit: listing.commit,
        files: remotes.len(),
        bytes,
        fetched: meter.fetched,
    })
}

/// Counts bytes and tells of them.
struct Meter<'a> {
    /// Of all files, there.
    bytes: u64,
    /// Over the network.
    fetched: u64,
    news: &'a mut dyn FnMut(News<'_>),
}

impl Meter<'_> {
    fn tell(&mut self, news: News<'_>) {
        (self.news)(news);
    }

    fn received(&mut self, bytes: u64) {
        self.fetched += bytes;
        self.bytes += bytes;
        self.tell(News::Progress { bytes: self.bytes, is_received: true });
    }

    /// Bytes were found that an earlier run left.
    fn found(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.tell(News::Progress { bytes: self.bytes, is_received: false });
    }

    /// Bytes that were counted are no good.
    fn dropped(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.tell(News::Progress { bytes: self.bytes, is_received: false });
    }
}

/// Asks again where what failed may pass.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut pauses = PAUSES.iter();
    loop {
        match (ask(), pauses.next()) {
            (Err(error), Some(pause)) if error.may_pass() => {
                tracing::info!("{error}; trying again");
                thread::sleep(*pause);
            }
            (answer, _) => return answer,
        }
    }
}

/// Sees to it that a file's content is there.
fn have(
    client: &Client<'_>,
    remote: &Remote,
    destination: &Destination,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    let content = destination.content(remote);
    if is_whole(remote, &content)? {
        meter.found(remote.bytes);
        return Ok(());
    }
    let (lock, is_removed) = destination.lock(remote);
    make_folder_of(&lock)?;
    let mut waits = || meter.tell(News::Waiting { name: &remote.name });
    let _lock = Lock::hold(&lock, is_removed, &mut waits)?;
    // Another process may have brought it meanwhile.
    if is_whole(remote, &content)? {
        meter.found(remote.bytes);
        return Ok(());
    }
    let path = destination.partial(remote);
    make_folder_of(&path)?;
    let mut partial = Partial::open(&path)?;
    if partial.bytes() > remote.bytes {
        partial.restart()?;
    }
    meter.found(partial.bytes());
    complete(client, remote, &mut partial, meter)?;
    // Windows renames nothing that is open.
    drop(partial);
    let found = remote.checksum.of_file(&path).map_err(|reason| Error::read(reason, &path))?;
    let stated = remote.checksum.digits();
    if found != stated {
        // Going on from it would end in the same way.
        std::fs::remove_file(&path).map_err(|reason| Error::write(reason, &path))?;
        return Err(Error::Checksum { stated: stated.to_owned(), found, url: remote.url.clone() });
    }
    std::fs::rename(&path, &content).map_err(|reason| Error::write(reason, &content))
}

/// Whether a file is there with the content that the server describes: what is there is read, not believed.
fn is_whole(remote: &Remote, path: &Path) -> Result<bool, Error> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(reason) => Err(Error::read(reason, path)),
        Ok(found) if found.len() != remote.bytes => Ok(false),
        Ok(_) => {
            let found = remote.checksum.of_file(path).map_err(|reason| Error::read(reason, path))?;
            Ok(found == remote.checksum.digits())
        }
    }
}

/// Appends until the file has its size. What passes (a broken connection, a busy server) is tried again.
fn complete(
    client: &Client<'_>,
    remote: &Remote,
    partial: &mut Partial,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    let mut failures = 0;
    // A server that begins again each time, and breaks off each time, brings nothing.
    let mut most = partial.bytes();
    while partial.bytes() < remote.bytes {
        let Err(error) = go_on(client, remote, partial, meter) else { continue };
        if partial.bytes() > most {
            most = partial.bytes();
            failures = 0;
        }
        match PAUSES.get(failures) {
            Some(pause) if error.may_pass() => {
                tracing::info!("{error}; trying again");
                thread::sleep(*pause);
                failures += 1;
            }
            _ => return Err(error),
        }
    }
    Ok(())
}

/// One request, and all that comes of it.
fn go_on(
    client: &Client<'_>,
    remote: &Remote,
    partial: &mut Partial,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    let (body, from) = client.open(remote, partial.bytes())?;
    if from < partial.bytes() {
        // The server does not do parts: it begins again, and so does the file.
        meter.dropped(partial.bytes());
        partial.restart()?;
    }
    let broken_off = |reason: String| Error::BrokenOff { reason, url: remote.url.clone() };
    let mut reader = body.into_reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken_off(error.to_string())),
        };
        if read == 0 {
            break;
        }
        let sent = partial.bytes() + read as u64;
        if sent > remote.bytes {
            return Err(Error::Size { stated: remote.bytes, sent, url: remote.url.clone() });
        }
        partial.append(&chunk[..read])?;
        meter.received(read as u64);
    }
    if partial.bytes() < remote.bytes {
        let reason = format!("{} of {} bytes came", partial.bytes(), remote.bytes);
        return Err(broken_off(reason));
    }
    Ok(())
}
