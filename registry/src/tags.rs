//! The tags of a repository (distribution-spec, "Listing tags").
//!
//! Pages are followed as the registry links them, on its own origin only. A registry that links pages
//! for ever, or one that brings nothing, is stopped.

use std::collections::BTreeSet;

use reqwest::header::LINK;
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use store::Repository;

use crate::event::Progress;
use crate::host::Host;
use crate::registry::Registry;
use crate::request::{Call, RequestError};
use crate::resolve::ResolveError;
use crate::session::Session;
use crate::token::Access;
use crate::transport::same_origin;

/// How many tags are asked for at once.
const PAGE: &str = "1000";
/// The longest list of tags that is read, in pages.
const MOST_PAGES: usize = 1000;
/// The longest page that is read.
const PAGE_LIMIT_BYTES: u64 = 4 << 20;

impl Registry {
    /// The tags of a repository, sorted by their bytes.
    pub fn tags(&self, repository: &Repository, progress: Progress<'_>) -> Result<BTreeSet<String>, ResolveError> {
        let session = self.session(&Host::new(repository.host())?, repository.path(), Access::Pull, &[], progress)?;
        let mut tags = BTreeSet::new();
        let mut next = Some(first_page(&session));
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { return Ok(tags) };
            let page = page(&session, url)?;
            let before = tags.len();
            tags.extend(page.tags);
            next = page.next.filter(|_| tags.len() > before);
        }
        Err(lists_for_ever(&session).into())
    }
}

/// One page of the list, and where the next is.
struct Page {
    tags: Vec<String>,
    next: Option<Url>,
}

/// `null` stands for no tags in some registries.
#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

fn first_page(session: &Session<'_>) -> Url {
    let mut url = session.url("tags/list");
    url.query_pairs_mut().append_pair("n", PAGE);
    url
}

fn page(session: &Session<'_>, url: Url) -> Result<Page, RequestError> {
    let call = Call::new(Method::GET, url, doing(session));
    let response = session.call(&call, &[200])?;
    let next = next_page(session, &response, &call)?;
    let bytes = session.read(response, PAGE_LIMIT_BYTES, &call.doing)?;
    let list: TagList = serde_json::from_slice(&bytes).map_err(|_| protocol(session, "is no list of tags"))?;
    let printable = |tag: String| crate::text::printable(tag.as_bytes());
    Ok(Page { tags: list.tags.unwrap_or_default().into_iter().map(printable).collect(), next })
}

/// The registry may link by a relative URL, but not to another host: it would see the token.
fn next_page(session: &Session<'_>, response: &Response, call: &Call) -> Result<Option<Url>, RequestError> {
    let headers = response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(link) = headers.flat_map(|value| value.split(',')).find_map(next_of) else { return Ok(None) };
    let url = call.url.join(link).ok().filter(|url| same_origin(&session.endpoint.origin, url));
    url.map(Some).ok_or_else(|| protocol(session, "links its next page to somewhere else"))
}

/// The target of a link (RFC 8288) whose relation is `next`.
fn next_of(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
    };
    parameters.split(';').any(is_next).then_some(target)
}

fn doing(session: &Session<'_>) -> String {
    format!("list the tags of {}", session.name())
}

fn lists_for_ever(session: &Session<'_>) -> RequestError {
    protocol(session, "has more pages than are read")
}

fn protocol(session: &Session<'_>, problem: &str) -> RequestError {
    let (host, problem) = (session.endpoint.host.to_string(), problem.to_owned());
    RequestError::Protocol { host, doing: doing(session), problem }
}

#[cfg(test)]
mod tests {
    use super::next_of;

    #[test]
    fn links_are_read_as_registries_write_them() {
        for (link, expected) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("/v2/a/tags/list?n=2&last=b")),
            ("<https://r.example/x>;rel=next", Some("https://r.example/x")),
            (r#" <x>; title="a"; REL=Next"#, Some("x")),
            (r#"<x>; rel="prev""#, None),
            ("x; rel=next", None),
            ("<x", None),
        ] {
            assert_eq!(next_of(link), expected, "{link}");
        }
    }
}
