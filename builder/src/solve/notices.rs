//! What is said of the machine and of the request while commands run: each kind once a build.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::Solver;
use crate::executor::Ended;
use crate::graph::Network;
use crate::progress::{Event, Notice};

/// The kinds of notices that were given already.
#[derive(Debug, Default)]
pub struct Given(Mutex<HashSet<Discriminant<Notice>>>);

impl Given {
    fn is_first(&self, notice: &Notice) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(discriminant(notice))
    }
}

impl Solver<'_> {
    /// What is to be said of the network that a command had, `env` being its environment.
    pub(super) fn note_network(&self, network: Network, ended: &Ended, env: &[(String, String)]) {
        let notice = match (&ended.shared_network, network) {
            (Some(why), _) => Notice::SharedNetwork(why.clone()),
            (None, Network::Default) => match proxies_on_loopback(env) {
                names if names.is_empty() => return,
                names => Notice::ProxyOnLoopback(names),
            },
            (None, Network::None | Network::Host) => return,
        };
        if self.given.is_first(&notice) {
            self.progress.report(Event::Notice(&notice));
        }
    }
}

/// The variables that name a proxy on the loopback interface.
fn proxies_on_loopback(env: &[(String, String)]) -> Vec<String> {
    let is_proxy = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.ends_with("_proxy") && name != "no_proxy"
    };
    let on_loopback = env.iter().filter(|(name, value)| is_proxy(name) && is_loopback(host_of(value)));
    on_loopback.map(|(name, _)| name.clone()).collect()
}

/// The host of `SCHEME://USER@HOST:PORT/`, of which all but the host may be missing.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => place.split_once(':').map_or(place, |(host, _)| host),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_on_the_loopback_are_found() {
        let rows = [
            ("http_proxy", "http://127.0.0.1:3128", true),
            ("HTTPS_PROXY", "http://user:p%40ss@localhost:3128/", true),
            ("all_proxy", "socks5://[::1]:1080", true),
            ("FTP_PROXY", "127.1.2.3", true),
            ("http_proxy", "http://proxy.example:3128", false),
            ("http_proxy", "http://10.0.0.1/?u=@127.0.0.1", false),
            ("http_proxy", "", false),
            ("no_proxy", "127.0.0.1", false),
            ("SERVER", "http://127.0.0.1", false),
        ];
        for (name, value, expected) in rows {
            let found = proxies_on_loopback(&[(name.to_owned(), value.to_owned())]);
            assert_eq!(!found.is_empty(), expected, "{name}={value}");
        }
    }

    #[test]
    fn a_kind_of_notice_is_given_once() {
        let given = Given::default();
        assert!(given.is_first(&Notice::SharedNetwork("one".into())));
        assert!(!given.is_first(&Notice::SharedNetwork("two".into())));
        assert!(given.is_first(&Notice::ProxyOnLoopback(Vec::new())));
    }
}
