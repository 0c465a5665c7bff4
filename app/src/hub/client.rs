//! What is asked of the server, and what its answers mean.
//!
//! Redirects are followed here and not by ureq: what the Hub says about a file stands in the answer that redirects to the
//! storage, and the token goes to the endpoint alone. Certificates are checked as the system checks them, so that a
//! hospital's own authority counts.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use super::checksum::Checksum;
use super::{COMMIT_DIGITS, Error, Repository, Revision, Settings, is_hexadecimal, stays_inside};

/// Everything in a part of a path that is not said to be safe there.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const MAX_REDIRECTS: usize = 10;
/// Longest list of files that is read, in bytes.
const MAX_LISTING: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may be silent in the middle of an answer.
const SILENCE: Duration = Duration::from_mins(1);

/// A repository at a commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// Names with slashes; each stays in the folder that it is joined to.
    pub(super) files: Vec<String>,
}

/// A file of a repository, as the server describes it.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) bytes: u64,
    pub(super) checksum: Checksum,
}

#[derive(Clone, Copy, Debug)]
enum Method {
    Head,
    Get,
}

/// The way to the server.
#[derive(Debug)]
pub(super) struct Client<'a> {
    agent: Agent,
    settings: &'a Settings,
    repository: &'a Repository,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a Settings, repository: &'a Repository) -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .https_only(settings.endpoint.starts_with("https://"))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("reinpath/", env!("CARGO_PKG_VERSION")))
            // Sizes and ranges are those of the file, not of a compressed one.
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(SILENCE))
            .build()
            .new_agent();
        Self { agent, settings, repository }
    }

    /// The commit that a revision names, and its files.
    pub(super) fn list(&self, revision: &Revision) -> Result<Listing, Error> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            #[serde(default)]
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let url = format!(
            "{}/api/models/{}/revision/{}",
            self.settings.endpoint,
            self.repository,
            utf8_percent_encode(&revision.0, PATH)
        );
        let mut response = self.follow(&url, 0)?;
        if response.status().as_u16() != 200 {
            return Err(self.refusal(&response, &url));
        }
        let unreadable = |reason: String| Error::Listing { reason, url: url.clone() };
        let text = response.body_mut().with_config().limit(MAX_LISTING).read_to_vec();
        let text = text.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => unreadable(error.to_string()),
            // It broke off, which may pass.
            error => Error::Unreachable { reason: error.to_string(), url: url.clone() },
        })?;
        let info: Info = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if !is_hexadecimal(&info.sha, COMMIT_DIGITS) {
            return Err(unreadable(format!("{:?} is no commit", info.sha)));
        }
        let mut files: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        if let Some(name) = files.iter().find(|name| !stays_inside(name)) {
            return Err(Error::FileName { name: name.clone() });
        }
        files.sort();
        files.dedup();
        Ok(Listing { commit: info.sha, files })
    }

    /// Size and checksum of a file.
    pub(super) fn describe(&self, commit: &str, name: &str) -> Result<Remote, Error> {
        let path: Vec<String> =
            name.split('/').map(|part| utf8_percent_encode(part, PATH).to_string()).collect();
        let url =
            format!("{}/{}/resolve/{commit}/{}", self.settings.endpoint, self.repository, path.join("/"));
        let (mut checksum, mut bytes) = (None, None);
        let mut address = url.clone();
        for _ in 0..MAX_REDIRECTS {
            let response = self.send(Method::Head, &address, 0)?;
            let linked = header(&response, "x-linked-etag").and_then(Checksum::from_etag);
            checksum = checksum.or(linked);
            bytes = bytes.or_else(|| number(&response, "x-linked-size"));
            match redirect(&response, &address)? {
                // A renamed repository, or a file that the endpoint keeps elsewhere.
                Some(next) if origin(&next) == origin(&url) => address = next,
                // The storage: it knows nothing that the Hub does not.
                Some(_) => break,
                None if response.status().as_u16() == 200 => {
                    checksum = checksum.or_else(|| header(&response, "etag").and_then(Checksum::from_etag));
                    bytes = bytes.or_else(|| number(&response, "content-length"));
                    break;
                }
                None => return Err(self.refusal(&response, &url)),
            }
        }
        let unverifiable = |what: &'static str| Error::Unverifiable { what, url: url.clone() };
        let checksum = checksum.ok_or_else(|| unverifiable("checksum"))?;
        let bytes = bytes.ok_or_else(|| unverifiable("size"))?;
        Ok(Remote { name: name.to_owned(), url, bytes, checksum })
    }

    /// The bytes of a file, `from` one of them on, and where in the file they begin: at its start where the server does not
    /// do parts.
    pub(super) fn open(&self, remote: &Remote, from: u64) -> Result<(Body, u64), Error> {
        let response = self.follow(&remote.url, from)?;
        let size = |sent: u64| {
            if sent == remote.bytes {
                Ok(())
            } else {
                Err(Error::Size { stated: remote.bytes, sent, url: remote.url.clone() })
            }
        };
        match response.status().as_u16() {
            200 => {
                number(&response, "content-length").map_or(Ok(()), size)?;
                Ok((response.into_body(), 0))
            }
            206 => {
                let part = header(&response, "content-range").and_then(parse_range);
                let (start, whole) = part.ok_or_else(|| Error::Range { url: remote.url.clone() })?;
                if start != from {
                    return Err(Error::Range { url: remote.url.clone() });
                }
                whole.map_or(Ok(()), size)?;
                Ok((response.into_body(), from))
            }
            _ => Err(self.refusal(&response, &remote.url)),
        }
    }

    fn follow(&self, url: &str, from: u64) -> Result<Response<Body>, Error> {
        let mut address = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(Method::Get, &address, from)?;
            match redirect(&response, &address)? {
                Some(next) => address = next,
                None => return Ok(response),
            }
        }
        Err(Error::Redirects { url: url.to_owned() })
    }

    fn send(&self, method: Method, url: &str, from: u64) -> Result<Response<Body>, Error> {
        let mut request = match method {
            Method::Head => self.agent.head(url),
            Method::Get => self.agent.get(url),
        };
        if let Some(token) = &self.settings.token
            && origin(url) == origin(&self.settings.endpoint)
        {
            request = request.header("authorization", format!("Bearer {}", token.value()));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        request
            .call()
            .map_err(|error| Error::Unreachable { reason: error.to_string(), url: shown(url).to_owned() })
    }

    /// What an answer that is neither content nor a redirect says.
    fn refusal(&self, response: &Response<Body>, url: &str) -> Error {
        let (repository, url) = (self.repository, shown(url).to_owned());
        match response.status().as_u16() {
            status @ (401 | 403) => Error::Refused {
                repository: repository.to_string(),
                status,
                advice: self.advice(),
                page: format!("{}/{repository}", self.settings.endpoint),
            },
            404 => {
                let what = match header(response, "x-error-code") {
                    Some("RevisionNotFound") => format!("such revision of {repository}"),
                    Some("EntryNotFound") => format!("such file of {repository}"),
                    _ => format!("model repository {repository}, or no such revision of it"),
                };
                Error::NotFound { what, url }
            }
            status => Error::Status { status, url },
        }
    }

    fn advice(&self) -> String {
        match &self.settings.token {
            None => format!(
                "accept its licence on its page, make an access token there, and set HF_TOKEN to it or write it into {} \
                 (a repository that does not exist is refused in the same way)",
                self.settings.token_file.display()
            ),
            Some(token) => format!(
                "accept its licence on its page with the account that the token from {} belongs to, or use another token \
                 (HF_TOKEN); it must be allowed to read this repository",
                token.origin
            ),
        }
    }
}

/// Where a redirect leads, as a whole address; `None` where the answer is none.
fn redirect(response: &Response<Body>, url: &str) -> Result<Option<String>, Error> {
    let status = response.status().as_u16();
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    match header(response, "location") {
        Some(whole) if whole.starts_with("https://") || whole.starts_with("http://") => {
            Ok(Some(whole.to_owned()))
        }
        Some(path) if path.starts_with('/') && !path.starts_with("//") => {
            Ok(Some(format!("{}{path}", origin(url))))
        }
        _ => Err(Error::Status { status, url: shown(url).to_owned() }),
    }
}

/// Scheme, host and port of an address: `https://huggingface.co`.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let length = url[host..].find(['/', '?', '#']).unwrap_or(url.len() - host);
    &url[..host + length]
}

/// An address as it may be shown: what the storage signs stands behind the question mark.
fn shown(url: &str) -> &str {
    url.split_once('?').map_or(url, |(address, _)| address)
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn number(response: &Response<Body>, name: &str) -> Option<u64> {
    header(response, name)?.trim().parse().ok()
}

/// `bytes 5-9/10` as (5, 10); the size may be unknown (`*`).
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (part, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = part.split_once('-')?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    Some((start.parse().ok()?, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_belongs_to_one_origin() {
        let own = origin("https://huggingface.co");
        assert_eq!(own, "https://huggingface.co");
        assert_eq!(origin("https://huggingface.co/a/b?c"), own);
        for other in [
            "http://huggingface.co/a",
            "https://huggingface.co:444/a",
            "https://huggingface.co.elsewhere.org/a",
            "https://huggingface.co@elsewhere.org/a",
        ] {
            assert_ne!(origin(other), own, "{other}");
        }
        assert_eq!(origin("https://elsewhere.org?x=https://huggingface.co/"), "https://elsewhere.org");
    }

    #[test]
    fn a_part_says_where_it_begins() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["", "5-9/10", "bytes */10", "bytes 5-9", "bytes x-9/10", "bytes 5-9/x"] {
            assert_eq!(parse_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn signatures_are_not_shown() {
        assert_eq!(shown("https://storage/a?signature=secret"), "https://storage/a");
    }
}
