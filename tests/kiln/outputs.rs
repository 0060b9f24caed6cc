//! What comes out of a build beside an image in the store: files, archives, pushes, several platforms,
//! and what scripts are told. Others read what kiln writes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::Value;

use crate::registries::{Server, peer};
use crate::session::{Session, installed};

/// A Dockerfile that runs nothing, so that it can be built for every platform.
const FILES: &str =
    "FROM scratch\nARG TARGETPLATFORM\nCOPY --chown=7:8 --chmod=4755 f /dir/f\nLABEL p=$TARGETPLATFORM\n";

fn files(session: &Session) -> String {
    session.write("c/f", "hello\n");
    session.context("c", FILES).display().to_string()
}

fn place(session: &Session, name: &str) -> String {
    session.path(name).display().to_string()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_files_come_as_a_directory_or_a_tar() {
    let session = Session::new();
    let context = files(&session);
    // C025: a bare path is a directory; owners and setuid are an image's, not a user's.
    session.kiln(["build", &context, "-o", &place(&session, "out")]).ok();
    let found = fs::metadata(session.path("out/dir/f")).expect("the file");
    assert_eq!((found.permissions().mode() & 0o7777, found.uid()), (0o755, rustix::process::geteuid().as_raw()));
    assert_eq!(found.mtime(), 315_532_800);
    // B042: a clock that somebody gave is the time of every file.
    let clock = ["--source-date-epoch", "86400", "-o", &place(&session, "dated")];
    session.kiln([&["build", &context][..], &clock].concat()).ok();
    assert_eq!(fs::metadata(session.path("dated/dir")).expect("the directory").mtime(), 86400);
    let two = ["--platform", "linux/amd64,linux/arm64", "-o", "-"];
    let tar = session.command().args(["build", &context]).args(two).output().expect("run kiln");
    let mut archive = tar::Archive::new(&*tar.stdout);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let entry = entry.expect("an entry");
        let (path, header) = (entry.path().expect("a path").display().to_string(), entry.header());
        (path, header.mode().expect("a mode"), header.uid().expect("an owner"))
    });
    let found: Vec<_> = entries.filter(|(path, ..)| path.ends_with('f')).collect();
    assert_eq!(found, [("linux_amd64/dir/f".to_owned(), 0o4755, 7), ("linux_arm64/dir/f".to_owned(), 0o4755, 7)]);
    assert_eq!(session.kiln(["images", "-q"]).ok().stdout, "", "nobody asked for a name");
}

/// Rule B075.
#[test]
fn what_cannot_be_delivered_is_said_before_anything_is_built() {
    let session = Session::new();
    let context = files(&session);
    for (arguments, words) in [
        (&["--iidfile", "/nowhere/id"][..], &["/nowhere/id", "No such file"][..]),
        (&["--metadata-file", "/nowhere/m"], &["/nowhere/m"]),
        (&["-o", "type=oci,dest=/nowhere/o.tar"], &["/nowhere/o.tar"]),
        (&["-o", "type=local,dest=.,mode=delete"], &["mode=delete would remove"]),
        (&["-o", "-", "-q"], &["standard output"]),
        (&["-o", "type=nonsense"], &["there is no type"]),
        (&["--push"], &["needs a name"]),
        (&["--annotation", "index:a=b"], &["an index is made of several platforms"]),
        (&["--annotation", "index-descriptor:a=b"], &["an index is made of several platforms"]),
        (&["--annotation", "a=b", "--format", "docker"], &["have no annotations"]),
        (&["--provenance=mode=max"], &["--provenance=mode=max is not supported"]),
        (&["--sbom=true"], &["--sbom=true is not supported"]),
        (&["--cache-to", "type=inline"], &["--cache-to", "not supported"]),
        (&["--save-stages"], &["--save-stages", "not supported"]),
    ] {
        let ran = session.kiln([&["build", &context][..], arguments].concat());
        assert_ne!(ran.code, 0, "{arguments:?}");
        ran.says(words);
    }
    assert_eq!(session.kiln(["images", "-aq"]).ok().stdout, "");
    let accepted = ["--provenance=false", "--sbom=false", "--attest", "type=sbom,disabled=true", "--rm", "--force-rm"];
    session.kiln([&["build", "-q", &context, "--builder", "x", "--pull=never"][..], &accepted].concat()).ok();
}

/// Rules B064, B066, B074, C025, C032, C036.
#[test]
fn archives_carry_names_annotations_and_compression() {
    let session = Session::new();
    if installed("skopeo", "skopeo").is_none() || installed("umoci", "umoci").is_none() {
        return;
    }
    let context = files(&session);
    let (archive, layout) = (place(&session, "o.tar"), place(&session, "layout"));
    let outputs = [
        "-o",
        &format!("type=oci,dest={archive},compression=zstd"),
        "-o",
        &format!("type=oci,dest={layout},tar=false,oci-mediatypes=true,annotation.here=only"),
        "-o",
        &format!("type=docker,dest={archive}.docker"),
    ];
    let told = ["--annotation", "a=b", "-t", "x:1", "--metadata-file", &place(&session, "m.json")];
    session.kiln([&["build", &context][..], &outputs, &told].concat()).ok();
    let raw = json(&peer("skopeo", &["inspect", "--raw", &format!("oci-archive:{archive}")]));
    assert_eq!(raw["annotations"], serde_json::json!({"a": "b"}));
    assert_eq!(raw["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    let raw = json(&peer("skopeo", &["inspect", "--raw", &format!("oci:{layout}")]));
    assert_eq!(raw["annotations"], serde_json::json!({"a": "b", "here": "only"}));
    assert_eq!(raw["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let bundle = place(&session, "bundle");
    peer("umoci", &["unpack", "--rootless", "--image", &format!("{layout}:docker.io/library/x:1"), &bundle]);
    assert_eq!(fs::read_to_string(session.path("bundle/rootfs/dir/f")).expect("the file"), "hello\n");
    peer("skopeo", &["inspect", "--config", &format!("docker-archive:{archive}.docker:x:1")]);
    // B076: the metadata file's keys.
    let metadata = json(&fs::read_to_string(session.path("m.json")).expect("the metadata"));
    assert_eq!(metadata["image.name"], "docker.io/library/x:1");
    assert_eq!(metadata["containerimage.descriptor"]["digest"], metadata["containerimage.digest"]);
    for key in ["containerimage.config.digest", "buildx.build.ref"] {
        assert!(metadata[key].is_string(), "{metadata}");
    }
    // An archive of kiln's keeps its annotations where it is loaded, and is saved with them again.
    let other = Session::new();
    other.kiln(["load", "-i", &archive]).ok().prints(&["Loaded image: x:1"]);
    other.kiln(["save", "--format=oci", "-o", &archive, "x:1"]).ok();
    assert_eq!(
        json(&peer("skopeo", &["inspect", "--raw", &format!("oci-archive:{archive}")]))["annotations"]["a"],
        "b"
    );
}

/// Rules B067, C016.
#[test]
fn several_platforms_make_an_index_that_goes_everywhere() {
    let session = Session::new();
    if installed("skopeo", "skopeo").is_none() {
        return;
    }
    let context = files(&session);
    let annotations = ["--annotation", "index:all=1", "--annotation", "manifest[linux/arm/v7]:arm=1"];
    let more = ["--annotation", "manifest-descriptor:each=1", "--iidfile", &place(&session, "id")];
    let platforms = ["--platform=linux/amd64,linux/arm/v7", "-t", "app", "-t", "app:2"];
    session.kiln([&["build", &context][..], &platforms, &annotations, &more].concat()).ok();
    session.kiln(["images", "app:2"]).ok().prints(&["PLATFORM", "linux/amd64", "linux/arm/v7"]);
    let archive = place(&session, "app.tar");
    session.kiln(["save", "--format=oci", "-o", &archive, "app:2"]).ok();
    let index = json(&peer("skopeo", &["inspect", "--raw", &format!("oci-archive:{archive}")]));
    // B067: one manifest for each platform, in the order of the request.
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let platforms: Vec<&Value> =
        index["manifests"].as_array().expect("manifests").iter().map(|one| &one["platform"]).collect();
    assert_eq!(platforms[0]["architecture"], "amd64");
    assert_eq!((&platforms[1]["architecture"], &platforms[1]["variant"]), (&"arm".into(), &"v7".into()));
    assert_eq!(
        (&index["annotations"]["all"], &index["manifests"][1]["annotations"]["each"]),
        (&"1".into(), &"1".into())
    );
    let arm = [
        "--override-arch",
        "arm",
        "--override-variant",
        "v7",
        "inspect",
        "--config",
        &format!("oci-archive:{archive}"),
    ];
    assert_eq!(json(&peer("skopeo", &arm))["config"]["Labels"]["p"], "linux/arm/v7");
    if let Some(server) = Server::anonymous() {
        let name = server.name("app/several:1");
        let push = ["build", "-q", "--platform=linux/amd64,linux/arm/v7", "--push", "-t", &name, "--metadata-file"];
        session.kiln([&push[..], &[&place(&session, "m.json"), "--tls-verify=false", &context]].concat()).ok();
        let raw = peer("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        assert_eq!(json(&raw)["manifests"].as_array().expect("manifests").len(), 2);
        let metadata = json(&fs::read_to_string(session.path("m.json")).expect("the metadata"));
        let digest = format!(
            "{}@{}",
            name.trim_end_matches(":1"),
            metadata["containerimage.digest"].as_str().expect("a digest")
        );
        peer("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{digest}")]);
    }
    // Elsewhere it is the same index, whichever of its images runs there.
    let other = Session::new();
    other.kiln(["load", "-i", &archive]).ok().prints(&["Loaded image: app:2"]);
    other.kiln(["images", "app:2"]).ok().prints(&["linux/amd64", "linux/arm/v7"]);
    other.kiln(["tag", "app:2", "again"]).ok();
    other.kiln(["store", "gc"]).ok();
    other.kiln(["store", "verify"]).ok();
    let child = other.context("child", "FROM again\n");
    let build = ["build", "-q", "--platform", "linux/arm/v7", "-t", "child", &child.display().to_string()];
    other.kiln(build).ok();
    other.kiln(["inspect", "-f", "{{.Architecture}} {{.Config.Labels.p}}", "child"]).ok().prints(&["arm linux/arm/v7"]);
    let refused = ["build", "--platform", "linux/s390x", "--pull=never", &child.display().to_string()];
    other.kiln(refused).ok().says(&["InvalidBaseImagePlatform", "linux/s390x"]);
    other.kiln(["rmi", "again"]).ok();
    other.kiln(["rmi", "app:2"]).ok();
    assert_eq!(other.kiln(["images", "-q", "app:2"]).ok().stdout, "");
}

/// Rules B066, C025: what is said of a manifest or an index where it is listed; a Docker archive lists one image.
#[test]
fn descriptors_are_annotated_where_they_are_listed() {
    let session = Session::new();
    let context = files(&session);
    let (layout, metadata) = (place(&session, "layout"), place(&session, "m.json"));
    let listed = |flags: &[&str]| {
        let _ = fs::remove_dir_all(&layout);
        let output = format!("type=oci,tar=false,dest={layout}");
        let second = format!("type=local,dest={}", place(&session, "files"));
        let outputs = ["build", "-q", &context, "-o", &output, "-o", &second, "--metadata-file", &metadata];
        session.kiln([&outputs, flags].concat()).ok();
        assert!(session.path("files").read_dir().expect("the files").next().is_some());
        let index = json(&fs::read_to_string(session.path("layout/index.json")).expect("the index"));
        let told = json(&fs::read_to_string(&metadata).expect("the metadata"));
        let told = told["containerimage.descriptor"]["annotations"].clone();
        (index["manifests"][0]["annotations"].clone(), told)
    };
    let (said, told) = listed(&["--annotation", "manifest-descriptor:a=b", "-t", "x"]);
    assert_eq!((&said["a"], &told["a"]), (&"b".into(), &"b".into()));
    assert_eq!(said["org.opencontainers.image.ref.name"], "docker.io/library/x:latest");
    let (said, _) = listed(&["--annotation", "manifest-descriptor[linux/s390x]:a=b"]);
    assert!(said["a"].is_null());
    let several = ["--platform=linux/amd64,linux/arm64"];
    let (said, told) = listed(&[&several[..], &["--annotation", "index-descriptor,manifest-descriptor:a=b"]].concat());
    assert_eq!((&said["a"], &told["a"]), (&"b".into(), &"b".into()));
    let archive = format!("type=docker,dest={}", place(&session, "app.tar"));
    session
        .kiln(["build", &context, several[0], "-o", &archive])
        .fails(1)
        .says(&["a Docker archive holds one platform"]);
}

/// Rule C022.
#[test]
fn progress_for_programs_is_nothing_but_objects() {
    let Some(session) = Session::with_busybox() else { return };
    let events = |dockerfile: &str, code: i32| {
        let context = session.context("json", dockerfile).display().to_string();
        let ran = session.kiln(["build", "--progress=json", "-t", "json", &context]).fails(code);
        assert_eq!(ran.stdout, "");
        ran.stderr.lines().map(json).collect::<Vec<Value>>()
    };
    let built = events("FROM busybox AS Mixed\nRUN echo said\n", 0);
    let last = built.last().expect("an event");
    assert_eq!((&last["event"], &last["names"][0]), (&"built".into(), &"docker.io/library/json:latest".into()));
    let failed = events("FROM busybox\nRUN echo said; exit 3\n", 1);
    let last = failed.last().expect("an event");
    assert_eq!((&last["event"], &last["exit_code"], &last["line"]), (&"error".into(), &3.into(), &2.into()));
    let wrong = events("FROM busybox\nRUM x\n", 1);
    assert_eq!(wrong.last().expect("an event")["errors"][0]["line"], 2);
    assert_eq!(events("FROM none:never\n", 1).last().expect("an event")["event"], "error");
}

#[test]
fn a_step_that_this_machine_cannot_execute_is_named_with_its_platform() {
    let Some(session) = Session::with_busybox() else { return };
    // The header of a program for a processor that nobody has.
    let mut program = vec![0u8; 64];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    program[16..20].copy_from_slice(&[2, 0, 0xee, 0xee]);
    session.write("foreign/program", program);
    let dockerfile = "FROM scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n";
    let context = session.context("foreign", dockerfile).display().to_string();
    let ran = session.kiln(["build", "--platform", "linux/s390x", &context]).fails(1);
    ran.says(&["foreign/Dockerfile:3", "linux/s390x"]);
}

#[test]
fn proxies_of_the_configuration_reach_the_steps_and_no_key() {
    let Some(session) = Session::with_busybox() else { return };
    let configuration = |proxy: &str| format!(r#"{{"proxies":{{"default":{{"httpProxy":"{proxy}"}}}}}}"#);
    let context = session.context("proxy", "FROM busybox\nRUN echo \"<$http_proxy>\"\n").display().to_string();
    session.write(".docker/config.json", configuration("http://one:1"));
    session.kiln(["build", &context]).ok().says(&["<http://one:1>"]);
    session.write(".docker/config.json", configuration("http://two:2"));
    session.kiln(["build", &context]).ok().says(&["CACHED"]);
}
