//! The rules of the repository that a compiler does not check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may depend on whom (docs/architecture.md): each crate with all it may name.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("store", &[]),
    ("run", &["store"]),
    ("registry", &["store"]),
    ("builder", &["run", "store"]),
    (".", &["builder", "registry", "run", "store"]),
];

#[test]
fn crates_depend_only_in_the_directions_of_the_house() {
    for (krate, allowed) in DIRECTIONS {
        let manifest = read(&root().join(krate).join("Cargo.toml"));
        let named: BTreeSet<&str> = ["builder", "registry", "run", "store"]
            .into_iter()
            .filter(|other| manifest.lines().any(|line| line.starts_with(&format!("{other}.workspace"))))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(named.is_subset(&allowed), "{krate} names {named:?}, may name {allowed:?}");
    }
}

#[test]
fn every_workspace_member_has_its_directions() {
    let manifest = read(&root().join("Cargo.toml"));
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("a workspace");
    for member in members.split('"').skip(1).step_by(2) {
        assert!(DIRECTIONS.iter().any(|(krate, _)| *krate == member), "{member}");
    }
}

#[test]
fn the_sandbox_knows_no_store() {
    for file in sources().iter().filter(|file| file.starts_with("run/src") && !file.starts_with("run/src/container")) {
        let text = read(&root().join(file));
        assert!(!text.contains("store::"), "{} names the store; only run::container may", file.display());
    }
}

#[test]
fn the_libraries_never_print() {
    // Tests may say why they are skipped.
    let is_test =
        |file: &PathBuf| file.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
    for file in sources().iter().filter(|file| !file.starts_with("src") && !is_test(file)) {
        let text = read(&root().join(file));
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        let calls = ["println!(", "eprintln!(", "print!(", "eprint!("];
        let prints = shipped.lines().position(|line| calls.iter().any(|call| line.trim_start().starts_with(call)));
        assert!(prints.is_none(), "{}:{} prints", file.display(), prints.unwrap_or_default() + 1);
    }
}

#[test]
fn every_file_opens_with_what_it_is() {
    for file in sources() {
        assert!(read(&root().join(&file)).starts_with("//!"), "{} does not open with //!", file.display());
    }
}

#[test]
fn no_room_is_called_after_nothing() {
    for file in sources() {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!["utils", "util", "helpers", "common", "types", "misc"].contains(&name), "{}", file.display());
    }
}

#[test]
fn unsafe_stands_in_one_module_a_crate() {
    for file in sources().iter().filter(|file| file.file_name().is_some_and(|name| name != "sys.rs")) {
        for (number, line) in read(&root().join(file)).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let named = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
            assert!(!named || file.ends_with("tests/kiln/house.rs"), "{}:{} is unsafe", file.display(), number + 1);
        }
    }
}

#[test]
fn the_readme_is_short() {
    assert!(read(&root().join("README.md")).lines().count() < 150);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The repository's Rust files, relative to its root.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["src", "store/src", "run/src", "builder/src", "registry/src", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    found.iter().map(|file| file.strip_prefix(root()).expect("below the root").to_owned()).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
