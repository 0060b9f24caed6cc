//! Small texts of others: account files, references, and what is shown on a terminal.

use builder::copy::owner::{Accounts, OwnerSpec};
use store::{Reference, Repository};

#[path = "../../run/src/sandbox/account/lines.rs"]
mod lines;

#[path = "../../src/ui/sanitize.rs"]
mod sanitize;

use lines::{Group, User};
use sanitize::Colours;

/// The box and COPY find the same user and group in the same files, which need not be text.
pub fn accounts(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let user = text.split('\n').filter_map(User::parse).find(|user| user.name == "app");
    let group = text.split('\n').filter_map(Group::parse).find(|group| group.name == "app");
    let accounts = Accounts { passwd: text.as_bytes().to_vec(), group: text.as_bytes().to_vec() };
    let owner = |spec: &str| OwnerSpec::parse(spec).resolve(&accounts).ok();
    assert_eq!(owner("app").map(|owner| (owner.uid, owner.gid)), user.map(|user| (user.uid, user.gid)));
    assert_eq!(owner("7:app").map(|owner| owner.gid), group.map(|group| group.gid));
}

/// A reference that can be read is written as one that reads the same, and leads nowhere as a path.
pub fn references(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
        assert_eq!(reference.familiar().parse().as_ref(), Ok(&reference));
        harmless(reference.repository());
    }
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.to_string().parse().as_ref(), Ok(&repository));
        harmless(&repository);
    }
}

fn harmless(repository: &Repository) {
    assert!(!repository.host().is_empty() && !repository.host().contains(['/', '@', '?', '#', '\\']), "{repository}");
    let components = || repository.path().split('/');
    assert!(components().all(|part| !part.is_empty() && part != "." && part != ".."), "{repository}");
    assert!(
        repository.path().bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\\@:".contains(&byte)),
        "{repository}"
    );
}

/// What is shown drives no terminal, and showing it again changes nothing.
pub fn terminal(input: &[u8]) {
    let plain = sanitize::line(input, Colours::Dropped);
    assert!(plain.chars().all(|character| character == '\t' || !character.is_control()), "{plain:?}");
    assert_eq!(sanitize::line(plain.as_bytes(), Colours::Dropped), plain);
    let coloured = sanitize::line(input, Colours::Kept);
    assert_eq!(sanitize::line(coloured.as_bytes(), Colours::Kept), coloured);
    for sequence in coloured.split('\u{1b}').skip(1) {
        let end = sequence.find(|character: char| !"[0123456789;:".contains(character));
        assert!(end.is_some_and(|end| sequence[end..].starts_with('m')), "{coloured:?}");
    }
    let text = sanitize::text(&String::from_utf8_lossy(input));
    assert!(text.chars().all(|character| "\t\n".contains(character) || !character.is_control()), "{text:?}");
}
