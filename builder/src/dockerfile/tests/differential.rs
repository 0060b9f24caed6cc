//! A second opinion: `parse-dockerfile` on files of our own.
//!
//! It splits lines, flags, stages and arguments as we do, leaves ENV, ARG and LABEL whole, and knows
//! heredocs only at the start of their instruction. The files keep to what both know, but for
//! [`KNOWN_DIFFERENCES`].

use parse_dockerfile as theirs;

use super::*;

const FILES: &[&str] = &[
    "FROM a\n",
    "# syntax=docker/dockerfile:1\nARG V=1\nFROM a:$V AS b\nRUN make\nFROM scratch\nCOPY --from=b /x /y\n",
    "# escape=`\nFROM --platform=linux/arm64 a\nRUN x `\n y\n",
    "from a as b\nrun echo hello\nworkdir /app\nuser 1:2\nexpose 80 443/tcp\nvolume /a /b\nstopsignal SIGINT\n",
    "FROM a\nRUN [\"a\", \"b c\"]\nCMD [\"x\"]\nENTRYPOINT [\"y\", \"z\"]\nSHELL [\"/bin/sh\", \"-c\"]\n",
    "FROM a\nCMD ['x']\nENTRYPOINT x y\n",
    "FROM a\nRUN --mount=type=cache,target=/c --network=none make\nRUN --security=insecure x\n",
    "FROM a\nCOPY --link --chown=1:2 --chmod=755 a b c/\nADD --checksum=sha256:0 http://x /y\n",
    "FROM a\nCOPY [\"a b\", \"/c\"]\nADD [\"d\", \"/e\"]\n",
    "FROM a\nRUN <<EOF\nRUN inner\n# no comment\nEOF\nCOPY <<A <<'B' /x/\na\nA\n$b\nB\n",
    "FROM a\nRUN x \\\n  # comment\n  && y\n\nRUN z\n",
    "FROM a\nONBUILD RUN x\nHEALTHCHECK NONE\nHEALTHCHECK --interval=1s CMD x\nMAINTAINER me\nLABEL a=b\nENV c=d\nARG e\n",
    "FROM a\nNO such\n",
    "RUN x\n",
    "",
    "FROM a b\n",
    "FROM a\nRUN <<EOF\n",
];

/// Files of which the two say different things, why, and whether we take them.
const KNOWN_DIFFERENCES: &[(&str, &str, bool)] = &[
    ("FROM a\nRUN cat <<EOF > x\nhello\nEOF\n", "a heredoc after a command: they read its body as instructions", true),
    ("# escape=`\n# escape=`\nFROM a\n", "a repeated directive is an error in BuildKit", false),
    ("FROM a AS x\nFROM b AS x\n", "stages of the same name are a warning in BuildKit", true),
    ("FROM a\nONBUILD FROM b\n", "they do not look at what may be a trigger", false),
    ("FROM a\nHEALTHCHECK --no=1 CMD x\n", "they do not look at flags", false),
    ("FROM a\nENV x\n", "they leave pairs whole", false),
    ("FROM a\nCOPY --frm=x a b\n", "they do not look at flags", false),
];

#[test]
fn both_parsers_say_the_same() {
    for source in FILES {
        let ours = parse(source.as_bytes());
        match theirs::parse(source) {
            Err(error) => assert!(ours.has_errors(), "they refuse {source:?}: {error}"),
            Ok(other) => {
                assert!(!ours.has_errors(), "they take {source:?}: {:?}", ours.diagnostics);
                let expected: Vec<_> = other.instructions.iter().map(theirs_summary).collect();
                assert_eq!(summaries(&ours.dockerfile), expected, "{source:?}");
            }
        }
    }
}

#[test]
fn the_known_differences_are_still_there() {
    for (source, why, taken) in KNOWN_DIFFERENCES {
        assert_eq!(!parse(source.as_bytes()).has_errors(), *taken, "{source:?}: {why}");
        assert_ne!(theirs::parse(source).is_ok(), *taken, "{source:?}: {why}");
    }
}

fn summaries(dockerfile: &Dockerfile) -> Vec<String> {
    let global = dockerfile.global_args.iter().map(|_| "ARG".to_owned());
    let stages = dockerfile.stages.iter().flat_map(|stage| {
        let from = &stage.from.value;
        let alias = from.alias.as_ref().map(|word| word.text.clone());
        let first = format!("FROM {} {:?}", from.image.text, alias);
        [first].into_iter().chain(stage.instructions.iter().map(|statement| summary(&statement.value)))
    });
    global.chain(stages).collect()
}

fn summary(instruction: &Instruction) -> String {
    let keyword = instruction.keyword();
    match instruction {
        Instruction::Cmd(command) | Instruction::Entrypoint(command) => {
            format!("{keyword} {}", command_summary(command))
        }
        Instruction::Run(run) => format!("{keyword} {} {}", run.heredocs.len(), command_summary(&run.command)),
        Instruction::Copy(Copy { files, .. }) | Instruction::Add(Add { files, .. }) => {
            let paths: Vec<_> = files.paths().map(|word| word.text.as_str()).collect();
            let contents: Vec<_> = files.heredocs().map(|heredoc| heredoc.content.as_str()).collect();
            format!("{keyword} {paths:?} {contents:?} {}", files.destination.text)
        }
        Instruction::Expose(words) => format!("{keyword} {:?}", texts(words)),
        Instruction::Volume(words) => format!("{keyword} {}", words.len()),
        Instruction::Shell(argv) => format!("{keyword} {argv:?}"),
        Instruction::User(word) | Instruction::Workdir(word) | Instruction::StopSignal(word) => {
            format!("{keyword} {}", word.text)
        }
        _ => keyword.to_owned(),
    }
}

/// The shell form's text is raw on their side, so only its kind is compared.
fn command_summary(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(_) => "shell".to_owned(),
        CommandLine::Exec(argv) => format!("{argv:?}"),
    }
}

fn theirs_summary(instruction: &theirs::Instruction<'_>) -> String {
    use theirs::Instruction as Their;
    match instruction {
        Their::Add(add) => files_summary("ADD", &add.src, &add.dest),
        Their::Arg(_) => "ARG".to_owned(),
        Their::Cmd(cmd) => format!("CMD {}", their_command(&cmd.arguments)),
        Their::Copy(copy) => files_summary("COPY", &copy.src, &copy.dest),
        Their::Entrypoint(entrypoint) => format!("ENTRYPOINT {}", their_command(&entrypoint.arguments)),
        Their::Env(_) => "ENV".to_owned(),
        Their::Expose(expose) => format!("EXPOSE {:?}", values(&expose.arguments)),
        Their::From(from) => {
            let alias = from.as_.as_ref().map(|(_, alias)| alias.value.to_string());
            format!("FROM {} {alias:?}", from.image.value)
        }
        Their::Healthcheck(_) => "HEALTHCHECK".to_owned(),
        Their::Label(_) => "LABEL".to_owned(),
        Their::Maintainer(_) => "MAINTAINER".to_owned(),
        Their::Onbuild(_) => "ONBUILD".to_owned(),
        Their::Run(run) => format!("RUN {} {}", run.here_docs.len(), their_command(&run.arguments)),
        Their::Shell(shell) => format!("SHELL {:?}", values(&shell.arguments)),
        Their::Stopsignal(signal) => format!("STOPSIGNAL {}", signal.arguments.value),
        Their::User(user) => format!("USER {}", user.arguments.value),
        Their::Volume(volume) => match &volume.arguments {
            theirs::JsonOrStringArray::Json(paths) => format!("VOLUME {}", paths.value.len()),
            theirs::JsonOrStringArray::String(paths) => format!("VOLUME {}", paths.len()),
        },
        Their::Workdir(workdir) => format!("WORKDIR {}", workdir.arguments.value),
        _ => "something new".to_owned(),
    }
}

fn files_summary(keyword: &str, sources: &[theirs::Source<'_>], destination: &theirs::UnescapedString<'_>) -> String {
    let mut paths = Vec::new();
    let mut contents = Vec::new();
    for source in sources {
        match source {
            theirs::Source::Path(path) => paths.push(path.value.as_ref()),
            theirs::Source::HereDoc(heredoc) => contents.push(heredoc.value.as_ref()),
            _ => {}
        }
    }
    format!("{keyword} {paths:?} {contents:?} {}", destination.value)
}

fn their_command(command: &theirs::Command<'_>) -> String {
    match command {
        theirs::Command::Exec(argv) => format!("{:?}", values(&argv.value)),
        _ => "shell".to_owned(),
    }
}

fn values<'a>(words: &'a [theirs::UnescapedString<'_>]) -> Vec<&'a str> {
    words.iter().map(|word| word.value.as_ref()).collect()
}
