//! Flags that Docker has and kiln does not have yet: each is refused by its name, so that a script
//! learns what is missing and nothing is guessed.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of docker, and of `build` also those of buildah, podman and kaniko, by verb, without those that kiln has.
const FLAGS: &[(&str, &[&str])] = &[
    (
        "build",
        &[
            "--cache-copy-layers",
            "--cache-dir",
            "--cache-from",
            "--cache-repo",
            "--cache-run-layers",
            "--cache-to",
            "--cleanup",
            "--compat-volumes",
            "--context-sub-path",
            "--cpp-flag",
            "--cw",
            "--debug",
            "--decryption-key",
            "--destination",
            "--git",
            "--hooks-dir",
            "--insecure",
            "--layer-label",
            "--log-level",
            "--logsplit",
            "--manifest",
            "--mount",
            "--no-push",
            "--os-feature",
            "--os-version",
            "--policy",
            "--registry-certificate",
            "--registry-map",
            "--registry-mirror",
            "--runtime",
            "--runtime-flag",
            "--save-stages",
            "--sign-by",
            "--skip-tls-verify",
            "--snapshot-mode",
            "--source-policy-file",
            "--stage-labels",
            "--stdin",
            "--tar-path",
            "--transient-mount",
        ],
    ),
    (
        "run",
        &[
            "--annotation",
            "--blkio-weight-device",
            "--cap-ambient",
            "--cpu-count",
            "--cpu-percent",
            "--device-cgroup-rule",
            "--disable-content-trust",
            "--gpus",
            "--io-maxbandwidth",
            "--io-maxiops",
            "--ip",
            "--ip6",
            "--isolation",
            "--kernel-memory",
            "--link",
            "--link-local-ip",
            "--log-driver",
            "--log-opt",
            "--mac-address",
            "--net-alias",
            "--network-alias",
            "--pidfile",
            "--runtime",
            "--storage-opt",
            "--use-api-socket",
            "--volume-driver",
        ],
    ),
    ("start", &["--checkpoint", "--checkpoint-dir"]),
    ("update", &["--kernel-memory"]),
    ("rm", &["--link", "-l"]),
    ("images", &["--tree"]),
    ("rmi", &["--no-prune", "--platform"]),
    ("pull", &["--all-tags", "--disable-content-trust", "-a"]),
    ("push", &["--disable-content-trust", "--platform"]),
    ("save", &["--platform"]),
    ("import", &["--change", "-c"]),
    ("history", &["--platform"]),
];

/// Why a flag is not there, and what is instead.
const REASONS: &[(&str, &str)] = &[
    ("--cache-copy-layers", "every step is cached"),
    ("--cache-run-layers", "every step is cached"),
    ("--cleanup", "nothing is left that could be cleaned up"),
    ("--compat-volumes", "what a step writes below a VOLUME stays"),
    ("--context-sub-path", "name the directory with the context: URL#REF:DIRECTORY"),
    ("--cpp-flag", "run the preprocessor before, and give its output to -f -"),
    ("--debug", "errors say all their causes; `kiln why` and `kiln cache show` tell of keys"),
    ("--destination", "names are given with -t; --push pushes"),
    ("--git", "name branch and directory with the context: URL#REF:DIRECTORY"),
    ("--hooks-dir", "steps run in kiln's own sandbox, which has no hooks"),
    ("--insecure", "use --tls-verify=false"),
    ("--layer-label", "there are no images between the stages: label the stage"),
    ("--log-level", "--progress says how much is told"),
    ("--manifest", "--platform A,B with -t makes an index of several images"),
    ("--no-push", "nothing is pushed without --push"),
    ("--os-feature", "it is for Windows"),
    ("--os-version", "it is for Windows"),
    ("--registry-certificate", "use --cert-dir"),
    ("--runtime-flag", "steps run in kiln's own sandbox"),
    ("--save-stages", "--target STAGE with -t makes an image of a stage"),
    ("--skip-tls-verify", "use --tls-verify=false"),
    ("--snapshot-mode", "a layer is what its step changed"),
    ("--stage-labels", "--target STAGE with -t makes an image of a stage"),
    ("--stdin", "steps have no standard input: use a secret, a build argument or a file of the context"),
    ("--tar-path", "use -o type=docker,dest=FILE"),
    ("--transient-mount", "use --volume"),
    ("--cpu-count", "it is for Windows"),
    ("--cpu-percent", "it is for Windows"),
    ("--device-cgroup-rule", "nodes that a container makes work in none: name each device with --device"),
    ("--gpus", "it takes programs of the maker: name the device nodes with --device"),
    ("--io-maxbandwidth", "it is for Windows"),
    ("--io-maxiops", "it is for Windows"),
    ("--kernel-memory", "the kernel has no such limit any more: --memory counts it"),
];

/// Docker's verbs that kiln does not have yet.
const VERBS: &[&str] = &["events", "network", "prune", "search"];

/// What is to be said of a flag or verb that was found by [`named_in`].
pub(crate) fn sentence(name: &str) -> String {
    let reason = REASONS.iter().find(|(flag, _)| name.ends_with(&format!(" {flag}")));
    match reason {
        Some((_, reason)) => format!("{name} is not supported: {reason}"),
        None => format!("{name} is not supported yet"),
    }
}

/// Under which verb the flags of another, or of a group's, are listed.
fn verb_of_group(verb: &str) -> &str {
    match verb {
        "ls" => "images",
        "create" => "run",
        verb => verb,
    }
}

/// The name of a flag or verb of Docker's that an error of the command line is about.
pub(crate) fn named_in(error: &clap::Error, arguments: &[String]) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let flag = text(ContextKind::InvalidArg)?.split('=').next()?.to_owned();
            let is_meant = |(verb, flags): &&(&str, &[&str])| {
                arguments
                    .iter()
                    .take(3)
                    .any(|argument| verb_of_group(argument) == *verb || (argument == "ls" && *verb == "ps"))
                    && flags.contains(&flag.as_str())
            };
            FLAGS.iter().find(is_meant).map(|(verb, _)| format!("kiln {verb} {flag}"))
        }
        ErrorKind::InvalidSubcommand => {
            let verb = text(ContextKind::InvalidSubcommand)?;
            VERBS.contains(&verb).then(|| format!("kiln {verb}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn check(line: &str, expected: Option<&str>) {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::try_parse_from(&arguments).unwrap_err();
        assert_eq!(named_in(&error, &arguments).as_deref(), expected, "{line}");
    }

    #[test]
    fn what_docker_has_is_named() {
        check("kiln build --stdin .", Some("kiln build --stdin"));
        check("kiln create --gpus=all x", Some("kiln run --gpus"));
        check("kiln container run --gpus all x", Some("kiln run --gpus"));
        check("kiln update --kernel-memory 1g x", Some("kiln update --kernel-memory"));
        check("kiln events", Some("kiln events"));
        check("kiln build --nonsense .", None);
        check("kiln nonsense", None);
    }

    #[test]
    fn reasons_are_given() {
        assert_eq!(sentence("kiln run --use-api-socket"), "kiln run --use-api-socket is not supported yet");
        assert!(sentence("kiln run --gpus").ends_with("with --device"));
        for (flag, _) in REASONS {
            assert!(FLAGS.iter().any(|(_, flags)| flags.contains(flag)), "{flag}");
        }
    }

    #[test]
    fn what_kiln_has_is_not_listed() {
        for (verb, flags) in FLAGS {
            let command = <Cli as clap::CommandFactory>::command();
            let command = command.find_subcommand(verb).expect("a verb");
            for argument in command.get_arguments() {
                let long = argument.get_long().map(|long| format!("--{long}")).unwrap_or_default();
                assert!(!flags.contains(&long.as_str()), "{verb} {long}");
            }
        }
        for verb in VERBS {
            assert!(<Cli as clap::CommandFactory>::command().find_subcommand(verb).is_none(), "{verb}");
        }
    }
}
