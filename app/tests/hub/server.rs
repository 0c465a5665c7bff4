//! A small HTTP/1.1 server on loopback that plays the Hub and, at another port, its storage: honest, unless a test changes
//! its answers. One request a connection, one connection at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that the revision `main` names.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository `owner/name`.
#[derive(Clone, Debug)]
pub(crate) struct HubFile {
    pub(crate) name: &'static str,
    pub(crate) content: Vec<u8>,
    /// Whether it lies in the storage, as files of git LFS do.
    pub(crate) is_large: bool,
}

impl HubFile {
    /// What the server states as its checksum.
    pub(crate) fn etag(&self) -> String {
        if self.is_large {
            return format!("{:x}", Sha256::digest(&self.content));
        }
        let mut blob = format!("blob {}\0", self.content.len()).into_bytes();
        blob.extend(&self.content);
        format!("{:x}", Sha1::digest(&blob))
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) is_storage: bool,
    pub(crate) method: String,
    /// Decoded, without what stands behind a question mark.
    pub(crate) path: String,
    /// The first byte of the wanted range.
    pub(crate) from: Option<usize>,
    pub(crate) authorization: Option<String>,
}

/// How much of a body is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Whole,
    /// So many bytes, then the connection is closed.
    BreaksOff(usize),
    /// So many bytes, then nothing until the other side closes.
    Hangs(usize),
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
    /// Whether the length of the body is said.
    pub(crate) states_length: bool,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), end: End::Whole, states_length: true }
    }

    pub(crate) fn whole(body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::status(200) }
    }

    /// Puts another value into a header that is there.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        for (_, old) in self.headers.iter_mut().filter(|(known, _)| *known == name) {
            value.clone_into(old);
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Change = Box<dyn Fn(&Request, Answer) -> Answer + Send + Sync>;

struct Shared {
    files: Vec<HubFile>,
    storage: String,
    change: Change,
    log: Mutex<Vec<Request>>,
    is_over: AtomicBool,
}

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
    threads: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Server {
    /// Serves `files`; `change` may replace what an honest server would answer.
    pub(crate) fn start(
        files: &[HubFile],
        change: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, storage) = (listen(), listen());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let endpoint = address(&hub);
        let shared = Arc::new(Shared {
            files: files.to_vec(),
            storage: address(&storage),
            change: Box::new(change),
            log: Mutex::new(Vec::new()),
            is_over: AtomicBool::new(false),
        });
        let threads = [("hub", hub), ("storage", storage)].map(|(name, listener)| {
            let address = listener.local_addr().unwrap();
            let shared = Arc::clone(&shared);
            let serve = move || shared.serve(&listener, name == "storage");
            (address, thread::Builder::new().name(name.to_owned()).spawn(serve).unwrap())
        });
        Self { endpoint, shared, threads: threads.into() }
    }

    /// An honest server.
    pub(crate) fn honest(files: &[HubFile]) -> Self {
        Self::start(files, |_, answer| answer)
    }

    /// What was asked since the last time.
    pub(crate) fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.log.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for (address, thread) in self.threads.drain(..) {
            // Wakes the thread, which waits for a connection.
            drop(TcpStream::connect(address));
            // A panic there made the test fail already, or was of no matter.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn serve(&self, listener: &TcpListener, is_storage: bool) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let stream = stream.unwrap();
            let Some(request) = read(&stream, is_storage) else { continue };
            let answer = (self.change)(&request, self.honest(&request));
            self.log.lock().unwrap().push(request.clone());
            // The other side may be gone by now: that is what some tests are about.
            drop(write(&stream, &request, &answer));
        }
    }

    fn honest(&self, request: &Request) -> Answer {
        let revision = request.path.strip_prefix("/api/models/owner/name/revision/");
        if revision.is_some_and(|revision| revision == "main" || revision == COMMIT) {
            let siblings: Vec<_> = self.files.iter().map(|file| json!({ "rfilename": file.name })).collect();
            let info = json!({ "id": "owner/name", "sha": COMMIT, "siblings": siblings });
            return Answer::whole(info.to_string().as_bytes());
        }
        let folder = if request.is_storage {
            "/storage/".to_owned()
        } else {
            format!("/owner/name/resolve/{COMMIT}/")
        };
        let name = request.path.strip_prefix(&folder);
        let Some(file) = self.files.iter().find(|file| name == Some(file.name)) else {
            return Answer::status(404);
        };
        let etag = format!("\"{}\"", file.etag());
        if file.is_large && !request.is_storage {
            return Answer::status(302)
                .with("location", format!("{}/storage/{}?signature=secret", self.storage, file.name))
                .with("x-linked-etag", etag)
                .with("x-linked-size", file.content.len().to_string())
                .with("x-repo-commit", COMMIT);
        }
        match request.from {
            Some(from) => {
                let whole = file.content.len();
                let part = Answer { status: 206, ..Answer::whole(&file.content[from..]) };
                part.with("content-range", format!("bytes {from}-{}/{whole}", whole - 1))
            }
            None => Answer::whole(&file.content).with("etag", etag),
        }
    }
}

fn read(stream: &TcpStream, is_storage: bool) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?);
    let path = path.split('?').next()?;
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    let mut request = Request { is_storage, method, path, from: None, authorization: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                request.from =
                    value.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
            }
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(request)
}

fn write(mut stream: &TcpStream, request: &Request, answer: &Answer) -> std::io::Result<()> {
    let mut head = vec![format!("HTTP/1.1 {} Answer", answer.status), "connection: close".to_owned()];
    if answer.states_length {
        head.push(format!("content-length: {}", answer.body.len()));
    }
    head.extend(answer.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    stream.write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    match answer.end {
        End::Whole => stream.write_all(&answer.body),
        End::BreaksOff(bytes) => stream.write_all(&answer.body[..bytes]),
        End::Hangs(bytes) => {
            stream.write_all(&answer.body[..bytes])?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        }
    }
}
