//! Archives that somebody made for the purpose.

use super::*;

/// threats.md A1, A2.
#[test]
fn names_in_an_archive_cannot_leave_it() {
    let layers = [layer("one")];
    let (directory, store) = store();
    std::fs::write(directory.path().join("outside"), &layers[0]).unwrap();
    for name in ["../outside", "/etc/passwd", "a/../../outside"] {
        let mut parts = docker(&layers, "null");
        let text = String::from_utf8(parts[DOCKER_FILE].clone()).unwrap().replace("0/layer.tar", name);
        parts.insert(DOCKER_FILE.into(), text.into_bytes());
        assert!(matches!(load(&store, &as_tar(&parts)), Err(ArchiveError::Missing(_))), "{name}");
    }
}

/// threats.md A5, A31: a layout is somebody else's directory. No link of it leads to a file of this machine, and what is
/// no file is no part.
#[test]
fn links_of_a_directory_cannot_leave_it() {
    let layers = [layer("one")];
    let (directory, store) = store();
    let at = |name: &str| directory.path().join(name);
    let parts = docker(&layers, "null");
    for (part, secret) in parts.iter().filter(|(name, _)| *name != DOCKER_FILE) {
        std::fs::write(at("secret"), secret).unwrap();
        for target in ["../../secret", "/proc/self/root/../secret", at("secret").to_str().unwrap()] {
            let _ = std::fs::remove_dir_all(at("docker"));
            write_directory(&parts, &at("docker"));
            let load = || store.load(&Source::open(&store, &at("docker")).unwrap(), &LoadOptions::default());
            std::fs::remove_file(at("docker").join(part)).unwrap();
            std::os::unix::fs::symlink(target, at("docker").join(part)).unwrap();
            assert!(matches!(load(), Err(ArchiveError::Missing(_))), "{part} {target}");
            std::fs::remove_file(at("docker").join(part)).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, at("docker").join(part), rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
            assert!(matches!(load(), Err(ArchiveError::Missing(_))), "{part} is a pipe");
        }
    }
}

/// threats.md A30: saving into a directory that somebody else has prepared changes nothing outside of it.
#[test]
fn a_layout_is_not_written_through_links() {
    let (directory, store) = store();
    let at = |name: &str| directory.path().join(name);
    let image = load(&store, &as_tar(&docker(&[layer("one")], "null"))).unwrap()[0].image;
    let images = vec![SavedImage { image, document: None, tags: Vec::new(), annotations: Default::default() }];
    let save = Save { images, format: ArchiveFormat::Oci, layers: LayerForm::Plain };
    std::fs::create_dir_all(at("victim")).unwrap();
    std::fs::write(at("victim/secret"), "SECRET").unwrap();
    let victim = || {
        let names = std::fs::read_dir(at("victim")).unwrap().map(|entry| entry.unwrap().file_name());
        (names.collect::<Vec<_>>(), std::fs::read_to_string(at("victim/secret")).unwrap())
    };
    for link in ["index.json", "index.json.part", "oci-layout", "oci-layout.part"] {
        std::fs::create_dir_all(at(link)).unwrap();
        std::os::unix::fs::symlink(at("victim/secret"), at(link).join(link)).unwrap();
        let saved = store.save_directory(&save, &at(link));
        assert_eq!(victim(), (vec!["secret".into()], "SECRET".to_owned()), "{link}");
        saved.unwrap();
        assert!(!at(link).join("index.json").symlink_metadata().unwrap().is_symlink());
    }
    for (link, above) in [("blobs", ""), ("sha256", "blobs")] {
        let out = at(&format!("out-{link}"));
        std::fs::create_dir_all(out.join(above)).unwrap();
        std::os::unix::fs::symlink(at("victim"), out.join(above).join(link)).unwrap();
        assert!(matches!(store.save_directory(&save, &out), Err(ArchiveError::Write { .. })), "{link}");
        assert_eq!(victim().0, ["secret"], "{link}");
    }
}

/// threats.md A14, A43: documents of a hostile archive are refused by size, depth and doubled keys, without being believed.
#[test]
fn hostile_documents_are_refused() {
    let (_directory, store) = store();
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let entry = r#"{"Config":"config.json","Layers":[]}"#;
    for (name, text) in [
        ("depth", deep.clone()),
        ("depth of a field", format!(r#"[{{"Config":"config.json","Layers":{deep}}}]"#)),
        ("a doubled key", r#"[{"Config":"config.json","Config":"other.json","Layers":[]}]"#.to_owned()),
        ("no end", format!("[{entry}")),
        ("a number", r#"[{"Config":7}]"#.to_owned()),
    ] {
        let mut parts = docker(&[], "null");
        parts.insert(DOCKER_FILE.into(), text.into_bytes());
        assert!(matches!(load(&store, &as_tar(&parts)), Err(ArchiveError::Document { .. })), "{name}");
    }
    let mut large = docker(&[], "null");
    let padding = " ".repeat(crate::oci::CONFIG_LIMIT_BYTES as usize);
    large.insert(DOCKER_FILE.into(), format!("[{entry}]{padding}").into_bytes());
    assert!(matches!(load(&store, &as_tar(&large)), Err(ArchiveError::TooLarge { .. })));
    assert_eq!(store.image_ids().unwrap(), []);
}
