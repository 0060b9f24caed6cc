//! Volumes beyond their container: what removing keeps, what pruning takes, what others take over.

use crate::session::Session;

impl Session {
    fn volume_names(&self) -> Vec<String> {
        self.kiln(["volume", "ls", "-q"]).ok().stdout.lines().map(str::to_owned).collect()
    }

    /// A container that has run to its end, without a network.
    fn has_run(&self, name: &str, flags: &[&str], script: &str) {
        let head = ["run", "--name", name, "--network=none"];
        self.kiln(head.iter().chain(flags).chain(&["busybox", "sh", "-c", script])).ok();
    }

    /// The name of the volume that a container has at a place.
    fn volume_at(&self, container: &str, target: &str) -> String {
        let template =
            format!("{{{{range .Mounts}}}}{{{{if eq .Destination {target:?}}}}}{{{{.Name}}}}{{{{end}}}}{{{{end}}}}");
        self.kiln(["inspect", "--format", &template, container]).ok().stdout.trim_end().to_owned()
    }
}

#[test]
fn anonymous_volumes_go_only_if_that_is_said() {
    // features.md H006, H015: a container's anonymous volumes outlive it unless it was started with --rm or is
    // removed with -v; volumes with a name stay in any case.
    let Some(session) = Session::with_busybox() else { return };
    let flags = ["-v", "/anonymous", "-v", "data:/data"];
    session.has_run("kept", &flags, "echo still here > /anonymous/f");
    let anonymous = session.volume_at("kept", "/anonymous");
    session.kiln(["rm", "kept"]).ok();
    // Whatever runs next tidies up, and this is no litter.
    session.has_run("gone", &flags, "true");
    assert_eq!(session.volume_names().len(), 3);
    session.kiln(["rm", "-v", "gone"]).ok();
    session.kiln(["run", "--rm", "--network=none", "-v", "/x", "-v", "data:/d", "busybox", "true"]).ok();
    session.kiln(["create", "--name", "forced", "-v", "/y", "busybox", "true"]).ok();
    session.kiln(["rm", "-fv", "forced"]).ok();
    session.kiln(["run", "-d", "--rm", "--name", "killed", "--net=none", "-v", "/k", "busybox", "sleep", "600"]).ok();
    session.kiln(["rm", "-f", "killed"]).ok();
    let mut expected = [anonymous.clone(), "data".to_owned()];
    expected.sort();
    assert_eq!(session.volume_names(), expected);
    let again = format!("{anonymous}:/again");
    session.has_run("reader", &["-v", &again], "grep -q 'still here' /again/f");
    session.kiln(["rm", "-v", "reader"]).ok();
    assert_eq!(session.volume_names(), expected, "named by somebody, it is theirs");
    session.kiln(["create", "--name", "pruned", "-v", "/z", "busybox", "true"]).ok();
    session.kiln(["container", "prune", "-f"]).ok();
    assert_eq!(session.volume_names().len(), 3, "pruning containers keeps them, too");
}

#[test]
fn pruning_asks_and_takes_what_no_container_has() {
    // features.md H060: anonymous volumes without a container, and with --all those with a name, after a yes.
    let Some(session) = Session::with_busybox() else { return };
    session.has_run("one", &["-v", "/a", "-v", "used:/u"], "head -c 100000 /dev/zero > /a/f");
    session.has_run("two", &["-v", "/b"], "true");
    let (unused, used) = (session.volume_at("one", "/a"), session.volume_at("two", "/b"));
    // Its name looks as if it had been made up, and was not.
    let lookalike = "0123456789abcdef".repeat(4);
    session.kiln(["volume", "create", &lookalike]).ok();
    session.kiln(["rm", "one"]).ok();
    assert_eq!(session.kiln_with_input(["volume", "prune"], "n\n").ok().says(&["WARNING", "anonymous"]).stdout, "");
    session.kiln(["volume", "prune"]).fails(1).says(&["--force"]);
    assert_eq!(session.volume_names().len(), 4);
    let pruned = session.kiln_with_input(["volume", "prune"], "y\n").ok();
    assert_eq!(pruned.stdout, format!("Deleted Volumes:\n{unused}\n\nTotal reclaimed space: 100kB\n"));
    assert_eq!(session.kiln(["volume", "prune", "-f"]).ok().stdout, "Total reclaimed space: 0B\n");
    session.kiln(["volume", "prune", "-a", "-f"]).ok().prints(&["used\n", &lookalike]);
    assert_eq!(session.volume_names(), [used], "a container has it");
}

#[test]
fn volumes_and_binds_of_other_containers() {
    // features.md H022: --volumes-from takes over volumes and binds, read-only if that is said; nearer flags win.
    let Some(session) = Session::with_busybox() else { return };
    let bind = format!("{}:/bind:ro", session.path("").display());
    session.write("shared", "of the host");
    session.has_run(
        "data",
        &["-v", "/anonymous", "-v", "named:/named", "-v", &bind, "--tmpfs", "/memory"],
        "echo 1 > /anonymous/f; echo 2 > /named/f",
    );
    let run = |flags: &[&str], script: &str| {
        let head = ["run", "--rm", "--network=none"];
        session.kiln(head.iter().chain(flags).chain(&["busybox", "sh", "-c", script]))
    };
    let all = "cat /anonymous/f /named/f /bind/shared; test ! -e /memory";
    assert_eq!(run(&["--volumes-from", "data"], all).ok().stdout, "1\n2\nof the host");
    assert_eq!(run(&["--volumes-from", "data:rw"], "echo 3 >> /named/f; cat /named/f").ok().stdout, "2\n3\n");
    run(&["--volumes-from", "data:ro"], "echo 4 >> /named/f").fails(1).says(&["Read-only"]);
    run(&["--volumes-from", "data:rw"], "echo 4 >> /bind/shared").fails(1).says(&["Read-only"]);
    let nearer = run(&["--volumes-from", "data", "-v", "other:/named"], "ls /named; cat /anonymous/f").ok();
    assert_eq!(nearer.stdout, "1\n");
    session.has_run("later", &["-v", "other:/named", "-v", "/more"], "echo of later > /named/g");
    let both = run(&["--volumes-from", "data", "--volumes-from", "later"], "ls /anonymous /named; ls -d /more").ok();
    assert_eq!(both.stdout, "/anonymous:\nf\n\n/named:\ng\n/more\n");
    for (from, complaint) in [("nobody", "no such container: nobody"), ("data:nocopy", "nocopy"), (":ro", "missing")] {
        run(&["--volumes-from", from], "true").fails(125).says(&[complaint]);
    }
    assert_eq!(session.field("data", "{{json .HostConfig.VolumesFrom}}"), "null");
}

#[test]
fn what_is_shared_goes_with_the_last_that_has_it() {
    // features.md H006, H022: an anonymous volume that another container has taken over is not removed with the first.
    let Some(session) = Session::with_busybox() else { return };
    session.has_run("first", &["-v", "/a"], "echo here > /a/f");
    session.kiln(["create", "--name", "second", "--volumes-from", "first:ro", "busybox", "cat", "/a/f"]).ok();
    assert_eq!(session.field("second", "{{json .HostConfig.VolumesFrom}}"), "[\"first:ro\"]");
    assert_eq!(session.volume_at("first", "/a"), session.volume_at("second", "/a"));
    session.kiln(["rm", "-v", "first"]).ok();
    session.kiln(["volume", "prune", "-af"]).ok();
    assert_eq!(session.kiln(["start", "-a", "second"]).ok().stdout, "here\n");
    session.kiln(["rm", "-v", "second"]).ok();
    assert_eq!(session.volume_names(), [""; 0]);
}

#[test]
fn what_others_have_covers_the_images_volumes() {
    // features.md H016, H022: no anonymous volume is made for a place that another container's already has.
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("image", "FROM busybox\nVOLUME /data\nVOLUME /own\n");
    session.build("with-volumes", &context);
    session.has_run("first", &["-v", "shared:/data"], "true");
    let flags = ["--volumes-from", "first", "with-volumes", "true"];
    session.kiln(["create", "--name", "second"].iter().chain(&flags)).ok();
    assert_eq!(session.volume_at("second", "/data"), "shared");
    assert_eq!(session.volume_names().len(), 2, "one for /own, and the shared one");
}
