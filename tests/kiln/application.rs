//! The main job: a web application from its Dockerfile to a page, through a registry to the same page elsewhere.
//!
//! A web server of busybox stands in for Flask, whose base takes a minute to make: `examples/flask/try` is the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::registries::Server;
use crate::running::fetch;
use crate::session::Session;

const DOCKERFILE: &str = "FROM busybox\nWORKDIR /app\nADD . /app\nEXPOSE 80\nENV NAME World\nCMD [\"/app/serve\"]\n";

const SERVE: &str = "#!/bin/sh
trap 'exit 0' TERM
mkdir /www
echo \"<h3>Hello $NAME!</h3><b>Hostname:</b> $(hostname)<br/>\" >/www/index.html
echo serving
httpd -f -p 80 -h /www &
wait
";

#[test]
fn a_web_application_is_built_served_pushed_and_served_again() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    let context = session.context("app", DOCKERFILE);
    let serve = session.write("app/serve", SERVE);
    fs::set_permissions(serve, fs::Permissions::from_mode(0o755)).expect("make it a program");
    let image = session.build("helloworld", &context);
    session.kiln(["images"]).ok().prints(&["REPOSITORY", "helloworld", "latest"]);
    serves(&session, "helloworld");

    let name = server.name("geektime/helloworld:v1");
    session.kiln(["tag", "helloworld", &name]).ok();
    session.kiln(["push", &name]).ok();
    fs::remove_dir_all(session.store()).expect("forget everything");
    session.kiln(["pull", &name]).ok();
    assert_eq!(session.kiln(["images", "-q", "--no-trunc"]).ok().stdout.trim(), image);
    serves(&session, &name);
}

/// Runs the application, looks at its page, and stops and removes it.
fn serves(session: &Session, image: &str) {
    let container = session.kiln(["run", "-d", "-p", "127.0.0.1::80", image]).ok().stdout.trim().to_owned();
    let short = &container[..12];
    let port = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
    let port = session.kiln(["inspect", "-f", port, short]).ok().stdout;
    let page = fetch(port.trim(), "/index.html");
    assert_eq!(page, format!("<h3>Hello World!</h3><b>Hostname:</b> {short}<br/>\n"));
    session.kiln(["ps"]).ok().prints(&[short, image, "->80/tcp", "Up "]);
    session.kiln(["logs", short]).ok().prints(&["serving\n"]);
    session.kiln(["stop", "-t", "60", short]).ok().prints(&[short]);
    session.kiln(["ps", "-a"]).ok().prints(&[short, "Exited (0)"]);
    session.kiln(["rm", short]).ok();
    assert_eq!(session.kiln(["ps", "-aq"]).ok().stdout, "");
}
