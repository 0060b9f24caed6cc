//! Images as files: what kiln writes, others read, and the other way round.

use std::fs;

use crate::registries::peer;
use crate::session::{Session, installed};

#[test]
fn every_form_comes_back_as_the_same_image() {
    let Some(session) = Session::with_busybox() else { return };
    let id = made(&session);
    for form in ["docker-archive", "oci", "oci-dir"] {
        let file = session.path(form).display().to_string();
        session.kiln(["save", "--format", form, "-o", &file, "app", "busybox"]).ok();
        let other = Session::new();
        other.kiln(["load", "-i", &file]).ok().prints(&["Loaded image: app:latest", "Loaded image: busybox:latest"]);
        other.kiln(["images", "-q", "--no-trunc", "app"]).ok().prints(&[&id]);
        assert_eq!(other.run("app", "cat /made"), "made\n", "{form}");
    }
}

/// Rules B050 to B053, B073, B074.
#[test]
fn skopeo_and_umoci_read_what_kiln_saves() {
    let Some(session) = Session::with_busybox() else { return };
    if installed("skopeo", "skopeo").is_none() || installed("umoci", "umoci").is_none() {
        return;
    }
    let id = made(&session);
    let place = |name: &str| session.path(name).display().to_string();
    let (archive, layout, bundle) = (place("app.tar"), place("layout"), place("bundle"));
    session.kiln(["save", "-o", &archive, "app"]).ok();
    let copied = place("copied.tar");
    let copy = ["--insecure-policy", "copy", "-q"];
    let names = [format!("docker-archive:{archive}:app:latest"), format!("docker-archive:{copied}:theirs:v1")];
    peer("skopeo", &[&copy[..], &[&names[0], &names[1]]].concat());
    let other = Session::new();
    other.kiln(["load", "-i", &copied]).ok().prints(&["Loaded image: theirs:v1"]);
    assert_eq!(other.kiln(["images", "-q", "--no-trunc"]).ok().stdout.trim(), id);

    session.kiln(["save", "--format=oci-dir", "-o", &layout, "app"]).ok();
    peer("umoci", &["unpack", "--rootless", "--image", &format!("{layout}:docker.io/library/app:latest"), &bundle]);
    assert_eq!(fs::read_to_string(session.path("bundle/rootfs/made")).expect("the file"), "made\n");
}

#[test]
fn kiln_reads_what_umoci_makes() {
    let Some(session) = Session::with_busybox() else { return };
    if installed("umoci", "umoci").is_none() {
        return;
    }
    made(&session);
    let place = |name: &str| session.path(name).display().to_string();
    let (layout, file) = (place("layout"), session.write("new", "of umoci\n"));
    session.kiln(["save", "--format=oci-dir", "-o", &layout, "app"]).ok();
    let from = format!("{layout}:docker.io/library/app:latest");
    peer("umoci", &["insert", "--rootless", "--image", &from, path(&file), "/new"]);
    let other = Session::new();
    other.kiln(["load", "-i", &layout]).ok().prints(&["Loaded image: app:latest"]);
    assert_eq!(other.run("app", "cat /made /new"), "made\nof umoci\n");
}

#[test]
fn what_is_no_archive_is_said_by_name() {
    let session = Session::new();
    let place = |name: &str| session.path(name).display().to_string();
    session.write("junk", "junk\n");
    session.write("folder/file", "");
    for (arguments, words) in [
        (&["load", "-i", &place("junk")][..], &["junk", "no archive"][..]),
        (&["load", "-i", &place("none")], &["none", "No such file"]),
        (&["load", "-i", &place("folder")], &["folder", "neither a Docker archive nor an OCI image layout"]),
        (&["load"], &["standard input", "neither"]),
        (&["import", &place("junk"), "name"], &["junk"]),
        (&["import", &place("none"), "name"], &["none", "No such file"]),
        (&["import", &place("folder"), "name"], &["folder", "is a directory"]),
        (&["save", "none"], &["no such image: none"]),
        (&["save", "--format=oci-dir", "none"], &["no such image"]),
    ] {
        session.kiln(arguments.iter().copied()).fails(1).says(words);
    }
    assert_eq!(session.kiln(["images", "-aq"]).ok().stdout, "");
}

/// Builds an image `app` with a file in it, and returns its id.
fn made(session: &Session) -> String {
    let context = session.context("app", "FROM busybox\nRUN echo made > /made\n");
    session.build("app", &context)
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}
