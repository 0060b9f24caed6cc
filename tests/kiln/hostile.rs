//! Contexts, archives and repositories that somebody made for the purpose (threats.md, section A): whatever they say,
//! a directory outside of the store stays as it was and its secret is nowhere to be seen.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::session::{Ran, Session, installed};

/// The directory that everybody is after.
struct Victim {
    directory: PathBuf,
    before: Vec<String>,
}

impl Victim {
    fn of(session: &Session) -> Self {
        session.write("victim/secret", "SECRET\n");
        session.write("victim/sub/below", "SECRET\n");
        let directory = session.path("victim");
        let before = listing(&directory);
        Self { directory, before }
    }

    /// Fails the test if anything was done to it or said of it.
    #[track_caller]
    fn is_untouched(&self, ran: &Ran) {
        assert!(!format!("{ran:?}").contains("SECRET"), "{ran:?}");
        assert_eq!(listing(&self.directory), self.before, "{ran:?}");
    }

    fn path(&self, below: &str) -> String {
        self.directory.join(below).display().to_string()
    }
}

/// Names, modes, link counts and bytes.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let bytes = if metadata.is_file() { fs::read_to_string(&path).expect("text") } else { String::new() };
        found.push(format!("{} {:o} {} {bytes}", path.display(), metadata.mode(), metadata.nlink()));
        if metadata.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}

/// An archive of entries as they are written, whatever a decent library thinks of them.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, kind: u8, name: &str, target: &str, body: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o666);
        header.set_size(body.len() as u64);
        header.set_device_major(254).expect("a major");
        header.set_device_minor(0).expect("a minor");
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, body: &str) -> Self {
        self.entry(b'0', name, "", body)
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, "")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

const COPY_ALL: &str = "FROM scratch\nCOPY . /all\n";

/// Rows A1 to A6, A8, A9, A11: names and links of a context on standard input lead nowhere; a refusal names the entry.
#[test]
fn a_hostile_context_stays_where_it_is() {
    let session = Session::new();
    let victim = Victim::of(&session);
    let (v, up) = (victim.path(""), "../".repeat(12));
    let context = || Archive::default().file("Dockerfile", COPY_ALL);
    for (name, archive) in [
        ("dots", context().file(&format!("{up}{v}pwn"), "x")),
        ("absolute", context().file(&victim.path("pwn"), "x")),
        ("through a link", context().link("esc", &v).file("esc/pwn", "x")),
        ("through dots in a link", context().link("esc", &format!("{up}{v}")).file("esc/pwn", "x")),
        ("a hard link out", context().entry(b'1', "hard", &victim.path("secret"), "")),
        ("a hard link through a link", context().link("esc", &v).entry(b'1', "hard", "esc/secret", "")),
        (
            "a file on a hard link to a link",
            context().link("sl", &victim.path("secret")).entry(b'1', "hl", "sl", "").file("hl", "OWNED"),
        ),
        ("the mode of a link's target", context().link("esc", &v).entry(b'5', "esc", "", "")),
        (
            "a directory that becomes a link",
            context().entry(b'5', "d", "", "").file("d/a", "").link("d", &v).file("d/p", ""),
        ),
        ("a whiteout through a link", context().link("esc", &v).file("esc/.wh.secret", "")),
        ("a whiteout of dots", context().file("x/.wh...", "")),
        ("an opaque mark through a link", context().link("esc", &v).file("esc/.wh..wh..opq", "")),
    ] {
        let ran = session.kiln_with_input(["build", "-o", "out", "-"], archive.end());
        victim.is_untouched(&ran);
        assert!(ran.code == 0 || ran.stderr.contains("layer entry"), "{name}: {ran:?}");
        let _ = fs::remove_dir_all(session.path("out"));
    }
}

/// Row A31: a Dockerfile that is a link is looked up in the context, also where the archive breaks off behind it, and
/// whatever it leads to is not shown.
#[test]
fn a_dockerfile_that_is_a_link_leads_nowhere() {
    let session = Session::new();
    let victim = Victim::of(&session);
    let secret = victim.path("secret");
    let mut cut = Archive::default().link("Dockerfile", &secret).file("x", &"x".repeat(600)).end();
    cut.truncate(1100);
    for archive in [Archive::default().link("Dockerfile", &secret).end(), cut] {
        let ran = session.kiln_with_input(["build", "-"], archive).fails(1);
        victim.is_untouched(&ran);
    }
    session.write("app/sub/keep", "");
    for (link, target) in
        [("Dockerfile", "victim/secret"), ("app/Other", "../victim/secret"), ("app/sub/Deep", &secret)]
    {
        let _ = fs::remove_file(session.path(link));
        symlink(target, session.path(link)).expect("a link");
    }
    symlink(&secret, session.path("app/Dockerfile")).expect("a link");
    for arguments in
        [&["build", "app"][..], &["build", "-f", "app/Other", "app"], &["build", "-f", "./app/sub/Deep", "app"]]
    {
        let ran = session.kiln(arguments).fails(1);
        victim.is_untouched(&ran);
        assert!(!ran.stderr.contains("secret:"), "{ran:?}");
    }
    session.kiln(["build", "-f", "app/Other", "app"]).fails(1).says(&["app/Other", "leads out of the build context"]);
    // Within the context a link is as good as a file, and outside of it what is typed is what is meant.
    session.write("app/real", "FROM scratch\nLABEL a=b\n");
    session.write("elsewhere/real", "FROM scratch\nLABEL a=b\n");
    for (link, target) in [("app/near", "real"), ("far", "elsewhere/real"), ("app/rooted", "/real")] {
        symlink(target, session.path(link)).expect("a link");
        session.kiln(["build", "-q", "-f", link, "app"]).ok();
    }
    fs::remove_file(session.path("app/Dockerfile")).expect("no link");
    session.write("app/Dockerfile", COPY_ALL);
    symlink(&secret, session.path("app/.dockerignore")).expect("a link");
    victim.is_untouched(&session.kiln(["build", "app"]));
}

/// Rows A3, A30: what a build leaves in a directory of the user is not written through links that wait there, nor are
/// they followed where the rest is to be removed; an image's own links come out as links.
#[test]
fn an_export_stays_in_its_directory() {
    let session = Session::new();
    let victim = Victim::of(&session);
    session.write("app/sub/below", "new");
    session.write("app/secret", "new");
    let context = session.context("app", "FROM scratch\nCOPY secret /victim/secret\nCOPY sub /sub\n");
    for mode in ["copy", "delete"] {
        let out = session.path(&format!("out-{mode}"));
        fs::create_dir_all(out.join("other")).expect("a directory");
        symlink(victim.path(""), out.join("victim")).expect("a link");
        symlink(victim.path("sub"), out.join("sub")).expect("a link");
        symlink(victim.path(""), out.join("other/link")).expect("a link");
        let output = format!("type=local,dest={},mode={mode}", out.display());
        let ran = session.kiln(["build", "-o", &output, context.to_str().expect("UTF-8")]).ok();
        victim.is_untouched(&ran);
        assert_eq!(fs::read_to_string(out.join("victim/secret")).expect("the file"), "new");
        assert_eq!(out.join("other").exists(), mode == "copy");
    }
    let first = Archive::default().link("esc", &victim.path("")).end();
    let second = Archive::default().file("esc/secret", "OWNED").end();
    fs::create_dir(session.path("two")).expect("a directory");
    fs::write(session.path("two/a.tar"), first).expect("an archive");
    fs::write(session.path("two/b.tar"), second).expect("an archive");
    fs::write(session.path("two/Dockerfile"), "FROM scratch\nADD a.tar /\nADD b.tar /\n").expect("a Dockerfile");
    victim.is_untouched(&session.kiln(["build", "-o", "out", "two"]));
}

/// Rows A19, A44: names that drive a terminal, break lines or are longer than any file's.
#[test]
fn odd_names_are_shown_harmlessly() {
    let session = Session::new();
    let victim = Victim::of(&session);
    let context = || Archive::default().file("Dockerfile", COPY_ALL);
    for name in ["\u{1b}]0;pwn\u{7}\u{1b}[2J", "a\nSuccessfully tagged x", "\r", &"n".repeat(99), "\u{202e}"] {
        let archive = context().file(name, "x").entry(b'1', "hard", "gone", "").end();
        let ran = session.kiln_with_input(["build", "--progress=plain", "-"], archive).fails(1).says(&["hard link"]);
        victim.is_untouched(&ran);
        assert!(!ran.stderr.contains(['\u{1b}', '\u{7}', '\r']), "{ran:?}");
        assert!(!ran.stderr.lines().any(|line| line.starts_with("Successfully")), "{ran:?}");
        session.kiln_with_input(["build", "-q", "-"], context().file(name, "x").end()).ok();
    }
}

/// Rows A16, A17: a few kilobytes do not become gigabytes, as a context or as an archive by its URL.
#[test]
fn what_expands_beyond_measure_is_refused() {
    let session = Session::new();
    let Some(_) = installed("gzip", "gzip") else { return };
    let mut bomb = Archive::default().file("Dockerfile", COPY_ALL);
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").expect("a name");
    header.set_size(192 << 20);
    header.set_mode(0o644);
    header.set_cksum();
    bomb.0.extend_from_slice(header.as_bytes());
    let head = session.write("head", &bomb.0);
    let packed = std::process::Command::new("sh")
        .args(["-c", "{ cat \"$0\"; head -c 201327616 /dev/zero; } | gzip -9", head.to_str().expect("UTF-8")])
        .output()
        .expect("gzip")
        .stdout;
    session.kiln_with_input(["build", "-"], &packed).fails(1).says(&["expands more than 200 times"]);
    session.kiln(["store", "gc"]).ok();
    let stored = std::process::Command::new("du").args(["-s", "--block-size=1M"]).arg(session.store()).output();
    let megabytes = String::from_utf8(stored.expect("du").stdout).expect("a number");
    let megabytes: u64 = megabytes.split_whitespace().next().expect("a number").parse().expect("a number");
    assert!(megabytes < 150, "{megabytes}");
}

/// A server that notes what it is asked, and answers everything in one way.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, seen) = (listener.local_addr().expect("an address"), Arc::<Mutex<String>>::default());
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            noted.lock().expect("the notes").push_str(&request);
            let _ = stream.write_all(answer(&request).as_bytes());
        }
    });
    (address.to_string(), seen)
}

/// Row A42: what opens one server is not shown to the one that it sends git to.
#[test]
fn git_shows_credentials_to_their_own_server_only() {
    let session = Session::new();
    let Some(_) = installed("git", "git") else { return };
    let advertised = "001e# service=git-upload-pack\n0000000eversion 2\n0014agent=git/2.0.0\n000cls-refs\n0000";
    let (other, seen) = server(move |_| {
        let length = advertised.len();
        let kind = "application/x-git-upload-pack-advertisement";
        format!(
            "HTTP/1.1 200 x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{advertised}"
        )
    });
    let elsewhere = format!("http://{other}");
    let (own, own_seen) = server(move |request| {
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        format!("HTTP/1.1 302 x\r\nConnection: close\r\nLocation: {elsewhere}{path}\r\nContent-Length: 0\r\n\r\n")
    });
    session.write("token", "t0ken\n");
    let fetched = |url: &str, secret: &str| {
        let context = session.context("app", &format!("FROM scratch\nADD {url} /\n"));
        let ran = session.kiln(["build", "--secret", secret, context.to_str().expect("UTF-8")]).fails(1);
        let take = |seen: &Mutex<String>| std::mem::take(&mut *seen.lock().expect("the notes")).to_lowercase();
        (ran, take(&own_seen), take(&seen))
    };
    let (_, asked, led_to) = fetched(&format!("http://{own}/r.git"), "id=GIT_AUTH_TOKEN.other,src=token");
    assert!(asked.contains("get /r.git") && led_to.contains("post /r.git"), "who shows nothing is led on: {led_to}");
    for (url, secret) in [
        (format!("http://me:pass@{own}/r.git"), "id=unused,src=token".to_owned()),
        (format!("http://{own}/r.git"), format!("id=GIT_AUTH_TOKEN.{own},src=token")),
        (format!("http://{own}/r.git"), "id=GIT_AUTH_HEADER,src=token".to_owned()),
    ] {
        let (ran, asked, led_to) = fetched(&url, &secret);
        assert!(asked.contains("authorization: "), "{asked}");
        assert!(!led_to.contains("authorization"), "{led_to}");
        assert!(!ran.stderr.contains("t0ken"), "{ran:?}");
    }
}

/// Rows A5, A31 (CVE-2017-1000117, CVE-2018-17456 and their like): no word of an address is an option of git or ssh, and no
/// transport but the network's is there.
#[test]
fn no_address_of_a_repository_is_a_command() {
    let session = Session::new();
    let Some(_) = installed("git", "git") else { return };
    let victim = Victim::of(&session);
    let pwn = victim.path("pwn");
    for address in [
        format!("ssh://-oProxyCommand=touch%20{pwn}/r"),
        format!("ssh://x@-oProxyCommand=touch%20{pwn}/r"),
        format!("git@-oProxyCommand=touch:{pwn}"),
        format!("git://127.0.0.1:1/r#--upload-pack=touch%20{pwn}"),
        format!("git://127.0.0.1:1/r?ref=--upload-pack%3Dtouch%20{pwn}"),
        format!("git://127.0.0.1:1/r##ref=-x,subdir={pwn}"),
        format!("ext::sh -c touch% {pwn} .git"),
        format!("ext://sh -c touch {pwn}/r.git"),
        format!("file://{}/r.git", victim.path("")),
        format!("fd::17/r.git {pwn}"),
        "--upload-pack=x://h/r.git".to_owned(),
    ] {
        let context = session.context("app", &format!("FROM scratch\nADD [{address:?}, \"/\"]\n"));
        victim.is_untouched(&session.kiln(["build", context.to_str().expect("UTF-8")]).fails(1));
        victim.is_untouched(&session.kiln(["build", "--build-context", &format!("x={address}"), "app"]).fails(1));
        victim.is_untouched(&session.kiln(["build", "--", &address]).fails(1));
    }
}
