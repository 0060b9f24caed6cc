//! Plans, printed: what is done on which tier, and in which order.

use super::super::spec::{Lower, Mount, Rootfs, Source, Terminal};
use super::*;
use crate::identity::{IdRange, Standing};

fn overlay() -> Spec {
    let rootfs = Rootfs::Overlay {
        lowers: vec![Lower { path: "/store/b".into(), stacking: Stacking::Nested }, Lower::direct("/store/a")],
        data: Some("/store/objects".into()),
        upper: "/store/tmp/1/upper".into(),
        work: "/store/tmp/1/work".into(),
        durability: Durability::Volatile,
    };
    Spec::new(rootfs, vec!["/bin/true".into()])
}

fn user() -> Tier {
    let range = |inside, outside, count| IdRange { inside, outside, count };
    let ids = IdMap(vec![range(0, 1000, 1), range(1, 100_000, 65_536)]);
    Tier { standing: Standing::NamespaceRoot, uids: ids.clone(), gids: ids, ..Tier::root() }
}

/// One step a line.
fn printed(spec: &Spec, tier: &Tier) -> String {
    plan(spec, tier).iter().map(|step| format!("{step:?}\n")).collect()
}

fn position(steps: &[Step], is: fn(&Step) -> bool) -> usize {
    steps.iter().position(is).unwrap_or_else(|| panic!("a step is missing in {steps:?}"))
}

#[test]
fn a_run_step_as_root() {
    insta::assert_snapshot!(printed(&overlay(), &Tier::root()));
}

#[test]
fn a_run_step_as_a_user() {
    insta::assert_snapshot!(printed(&overlay(), &user()));
}

#[test]
fn a_container_with_everything() {
    let mount = |target: &str, source, access| Mount { target: target.into(), source, access };
    let spec = Spec {
        network: Network::Private,
        no_new_privileges: true,
        rootfs_access: Access::ReadOnly,
        terminal: Terminal::Console { rows: 24, columns: 80 },
        mounts: vec![
            mount("/a/b", Source::Path { path: "/srv/b".into() }, Access::ReadOnly),
            mount("/a", Source::Tmpfs { size_bytes: None, mode: 0o1777, executables: false }, Access::ReadWrite),
            mount("/s", Source::File { bytes: vec![1], mode: 0o400, uid: 0, gid: 0 }, Access::ReadOnly),
            mount("/dev/fuse", Source::Device { path: "/dev/fuse".into() }, Access::ReadWrite),
        ],
        ..overlay()
    };
    insta::assert_snapshot!(printed(&spec, &Tier::root()));
}

#[test]
fn a_privileged_container() {
    insta::assert_snapshot!(printed(&overlay().privileged(), &Tier::root()));
}

#[test]
fn confinement_comes_last_and_in_order() {
    for tier in [Tier::root(), user()] {
        let steps = plan(&Spec { no_new_privileges: true, ..overlay() }, &tier);
        let order = [
            position(&steps, |step| matches!(step, Step::Pivot)),
            position(&steps, |step| matches!(step, Step::Identity)),
            position(&steps, |step| matches!(step, Step::Seccomp(_))),
            position(&steps, |step| matches!(step, Step::Capabilities(_))),
            position(&steps, |step| matches!(step, Step::Execute)),
        ];
        assert!(order.is_sorted(), "{steps:?}");
        assert_eq!(order[4], steps.len() - 1);
    }
}

#[test]
fn specs_survive_the_wire() {
    let mut spec = overlay();
    spec.command.argv.push(std::os::unix::ffi::OsStringExt::from_vec(vec![0xff, b'x']));
    let text = serde_json::to_string(&spec).expect("json");
    assert_eq!(serde_json::from_str::<Spec>(&text).expect("a spec"), spec);
}
