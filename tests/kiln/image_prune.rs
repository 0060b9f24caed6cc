//! `kiln image prune`: which images go, and that their room comes free.

use std::fs;
use std::path::Path;

use crate::session::Session;

impl Session {
    /// An image with a file of its own, and what else the Dockerfile says.
    fn made(&self, tag: &str, more: &str) -> String {
        self.write(&format!("{tag}/file"), tag.repeat(50_000));
        let context = self.context(tag, &format!("FROM busybox\nCOPY file /{tag}\n{more}"));
        self.build(tag, &context)
    }

    fn has_image(&self, id: &str) -> bool {
        self.kiln(["images", "-aq", "--no-trunc"]).ok().stdout.lines().any(|line| line == id)
    }
}

#[test]
fn images_without_a_name_go() {
    // features.md H059: without --all only what has neither a name nor a container goes, after a yes.
    let Some(session) = Session::with_busybox() else { return };
    let [old, used, named] = ["old", "used", "named"].map(|tag| session.made(tag, ""));
    session.kiln(["create", "--name", "one", "used", "true"]).ok();
    session.kiln(["tag", "named", "old"]).ok();
    session.kiln(["tag", "named", "used"]).ok();
    assert_eq!(session.kiln_with_input(["image", "prune"], "\n").ok().says(&["WARNING", "without a name"]).stdout, "");
    session.kiln(["image", "prune"]).fails(1).says(&["--force"]);
    assert!(session.has_image(&old));
    let pruned = session.kiln_with_input(["image", "prune"], "y\n").ok();
    pruned.prints(&["Deleted Images:\n", &format!("deleted: {old}\n"), "Total reclaimed space: "]);
    assert_eq!([&old, &used, &named].map(|id| session.has_image(id)), [false, true, true]);
    assert_eq!(session.kiln(["image", "prune", "-f"]).ok().stdout, "Total reclaimed space: 0B\n");
    // Cached steps stay: the same build again runs nothing, and is the same image.
    assert_eq!(session.build("again", &session.path("old")), old);
    session.kiln(["start", "one"]).ok();
}

#[test]
fn all_that_no_container_is_made_of() {
    // features.md H059: with --all names go, too; what a container is made of stays with its names.
    let Some(session) = Session::with_busybox() else { return };
    let [used, named] = ["used", "named"].map(|tag| session.made(tag, ""));
    session.kiln(["create", "--name", "one", "used", "true"]).ok();
    let pruned = session.kiln(["image", "prune", "--all", "--force"]).ok();
    let pruned =
        pruned.prints(&["untagged: busybox:latest\n", "untagged: named:latest\n", &format!("deleted: {named}\n")]);
    assert!(!pruned.stdout.contains(&used), "{}", pruned.stdout);
    assert_eq!(session.kiln(["images", "--format", "{{.Repository}}"]).ok().stdout, "used\n");
    session.kiln(["store", "verify"]).ok();
}

#[test]
fn filters_say_which() {
    // features.md H059: until= goes by when an image came here, label= and label!= by its labels.
    let Some(session) = Session::with_busybox() else { return };
    let mine = session.made("mine", "LABEL team=us\n");
    let other = session.made("other", "LABEL team=them\n");
    let prune = |filter: &str| session.kiln(["image", "prune", "-af", "--filter", filter]);
    prune("colour=red").fails(1).says(&["colour=red"]);
    let nothing = "Total reclaimed space: 0B\n";
    assert_eq!(prune("until=2000-01-01T00:00:00Z").ok().stdout, nothing);
    assert_eq!(prune("label=team=nobody").ok().stdout, nothing);
    prune("label=team=us").ok().prints(&[&format!("deleted: {mine}")]);
    assert!(session.has_image(&other));
    prune("label!=team").ok().prints(&["untagged: busybox:latest"]);
    assert!(session.has_image(&other));
    prune("until=2100-01-01T00:00:00Z").ok().prints(&[&format!("deleted: {other}")]);
}

#[test]
fn the_room_is_free() {
    // features.md H059: what only a pruned image held is gone from the disk, and the sum says so.
    let Some(session) = Session::with_busybox() else { return };
    session
        .kiln(["run", "--name", "one", "--network=none", "busybox", "sh", "-c", "head -c 3000000 /dev/urandom > /f"])
        .ok();
    let id = session.kiln(["commit", "one"]).ok().stdout.trim().to_owned();
    session.kiln(["rm", "one"]).ok();
    let before = bytes_below(&session.store());
    let pruned = session.kiln(["image", "prune", "-f"]).ok().prints(&[&id]);
    assert!(before - bytes_below(&session.store()) >= 3_000_000);
    assert!(pruned.stdout.ends_with("MB\n"), "{}", pruned.stdout);
    session.kiln(["run", "--rm", "--network=none", "busybox", "true"]).ok();
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}
