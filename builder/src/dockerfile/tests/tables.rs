//! What is read, rule by rule.

use std::time::Duration;

use super::*;
use crate::dockerfile::mount::{Access, Need, Ownership, Sharing};

fn shell_texts(source: &str) -> Vec<String> {
    let texts = read(source).stages.into_iter().flat_map(|stage| stage.instructions);
    texts.map(|statement| statement.text).collect()
}

#[test]
fn a004_to_a009_lines() {
    for (rule, source, expected) in [
        ("A004", "\u{feff}FROM a\r\nRUN x\r\n", vec!["RUN x"]),
        ("A006", "FROM a\n# c\nRUN x \\\n# c\n  # d\n y # e\n", vec!["RUN x  y # e"]),
        ("A007", "  FROM a\n\tRUN x \\\n    y\n", vec!["RUN x     y"]),
        ("A008", "FROM a\nRUN x \\  \t\ny\nRUN z \\\\\nRUN end\\\n", vec!["RUN x y", "RUN z \\\\", "RUN end"]),
        ("A008", "FROM a\nRUN x\\\n\\\ny\n\\\nRUN z\n", vec!["RUN xy", "RUN z"]),
        ("A009", "FROM a\nRUN x \\\n\n \t\n y\n", vec!["RUN x  y"]),
        ("A022", "# escape=`\nFROM a\nRUN x `\n y \\\nRUN z\n", vec!["RUN x  y \\", "RUN z"]),
    ] {
        assert_eq!(shell_texts(source), expected, "{rule}: {source:?}");
    }
}

#[test]
fn a010_descriptions() {
    let source =
        "# global about it\nARG global\n# other\n\n# build builds\nFROM a AS build\n# x one\n# y two\nARG x y z\n";
    let dockerfile = read(source);
    let description = |arg: &ArgVariable| arg.description.clone();
    assert_eq!(description(&dockerfile.global_args[0].value.variables[0]).as_deref(), Some("about it"));
    assert_eq!(dockerfile.stages[0].description.as_deref(), Some("builds"));
    let Instruction::Arg(arg) = &dockerfile.stages[0].instructions[0].value else { panic!() };
    let found: Vec<_> = arg.variables.iter().map(description).collect();
    assert_eq!(found, [Some("one".to_owned()), Some("two".to_owned()), None]);
}

#[test]
fn a011_flags() {
    let Instruction::Copy(copy) = instruction("COPY --from=x --chown='a b' --link --parents=FALSE -- --a b") else {
        panic!()
    };
    assert_eq!(copy.from.unwrap().text, "x");
    assert_eq!(copy.files.chown.as_ref().unwrap().text, "a b");
    assert!(copy.files.link && !copy.parents);
    assert_eq!(copy.files.paths().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["--a"]);
    let Instruction::Copy(copy) = instruction(r"COPY --exclude=*.a --exclude=b\ c --from= x y") else { panic!() };
    assert_eq!(texts(&copy.files.exclude), ["*.a", "b c"]);
    assert_eq!(copy.from, None);
    let Instruction::Run(run) = instruction("RUN --network=none --security=insecure --device=a=b,required x --y")
    else {
        panic!()
    };
    assert_eq!((run.network, run.security), (NetworkMode::None, SecurityMode::Insecure));
    assert_eq!(texts(&run.devices), ["a=b,required"]);
    assert_eq!(run.command, CommandLine::Shell("x --y".to_owned()));
}

#[test]
fn a012_a013_commands() {
    let exec = |words: &[&str]| CommandLine::Exec(words.iter().map(|word| (*word).to_owned()).collect());
    let shell = |text: &str| CommandLine::Shell(text.to_owned());
    for (text, expected) in [
        (r#"["a", "b c"]"#, exec(&["a", "b c"])),
        ("[]", exec(&[])),
        ("['a']", shell("['a']")),
        (r#"["a",]"#, shell(r#"["a",]"#)),
        (r#"["a"] b"#, shell(r#"["a"] b"#)),
        ("echo  \"$X\" 'y'  # z", shell("echo  \"$X\" 'y'  # z")),
        ("", shell("")),
    ] {
        assert_eq!(instruction(&format!("CMD {text}")), Instruction::Cmd(expected.clone()), "{text}");
        assert_eq!(instruction(&format!("entrypoint {text}")), Instruction::Entrypoint(expected), "{text}");
    }
    assert_eq!(instruction(r#"SHELL ["/bin/bash", "-c"]"#), Instruction::Shell(vec!["/bin/bash".into(), "-c".into()]));
}

#[test]
fn a033_heredoc_sources() {
    let source = "COPY --chmod=755 <<A x <<-'B' /d/\n$a \\\n# no comment\nA\n\t\tone\n\tB \n\tB";
    let Instruction::Copy(copy) = instruction(source) else { panic!() };
    let heredocs: Vec<_> = copy.files.heredocs().collect();
    assert_eq!(heredocs[0].content, "$a \\\n# no comment\n");
    assert_eq!((heredocs[0].expansion, heredocs[0].tabs), (Expansion::Variables, Tabs::Kept));
    assert_eq!((heredocs[1].content.as_str(), heredocs[1].text().as_str()), ("\t\tone\n\tB \n", "one\nB \n"));
    assert_eq!((heredocs[1].expansion, heredocs[1].tabs), (Expansion::Literal, Tabs::Stripped));
    assert_eq!(copy.files.paths().count(), 1);
    let Instruction::Add(add) = instruction("ADD <<EOF /x\r\na\r\nEOF\r") else { panic!() };
    assert_eq!(add.files.heredocs().next().unwrap().content, "a\r\n");
    let Instruction::Copy(copy) = instruction(r#"COPY ["<<EOF", "/x"]"#) else { panic!() };
    assert_eq!(copy.files.heredocs().count(), 0);
}

#[test]
fn a034_a035_a036_scripts() {
    let script = |text: &str| {
        let Instruction::Run(run) = instruction(text) else { panic!() };
        run.script()
    };
    let shell = |text: &str| Script::Shell(text.to_owned());
    assert_eq!(script("RUN <<EOF\na\nb $x\nEOF"), shell("a\nb $x\n"));
    assert_eq!(script("RUN <<-'E'\n\ta\n\tE"), shell("a\n"));
    assert_eq!(
        script("RUN --network=none <<E\n#!/bin/x\nE"),
        Script::File { name: "E".into(), content: "#!/bin/x\n".into() }
    );
    assert_eq!(script("RUN cat <<A 3<<-B > x\na\nA\n\tb\n\tB"), shell("cat <<A 3<<-B > x\na\nA\n\tb\nB"));
    assert_eq!(script("RUN cat << E > x\nE"), shell("cat << E > x\nE"));
    assert_eq!(script("RUN a \\\n && b <<E\nc\nE"), shell("a  && b <<E\nc\nE"));
    assert_eq!(script("RUN echo '<<E'"), shell("echo '<<E'"));
    assert_eq!(script(r#"RUN ["a", "<<E"]"#), Script::Exec(vec!["a".into(), "<<E".into()]));
}

#[test]
fn a060_stages() {
    let dockerfile = read("ARG V=1\nFROM --platform=$P a:$V AS One\nFROM one\nfrom two as three.x-y_z\n");
    let from = |index: usize| dockerfile.stages[index].from.value.clone();
    assert_eq!(from(0).platform.unwrap().text, "$P");
    assert_eq!((from(0).image.text.as_str(), dockerfile.stages[0].name.as_deref()), ("a:$V", Some("one")));
    assert_eq!((from(1).image.text.as_str(), dockerfile.stages[1].name.as_deref()), ("one", None));
    assert_eq!(dockerfile.stages[2].name.as_deref(), Some("three.x-y_z"));
}

#[test]
fn a070_a150_a164_pairs() {
    let Instruction::Arg(arg) = instruction("ARG a=\"b c\" d e= f=g=h") else { panic!() };
    let found: Vec<_> = arg
        .variables
        .iter()
        .map(|variable| (variable.key.text.as_str(), variable.default.as_ref().map(|word| word.text.as_str())))
        .collect();
    assert_eq!(found, [("a", Some("\"b c\"")), ("d", None), ("e", Some("")), ("f", Some("g=h"))]);
    for (text, expected, form) in [
        ("ENV a=b c='d e' f=", vec![("a", "b"), ("c", "'d e'"), ("f", "")], PairForm::Equals),
        ("ENV a b  c=d", vec![("a", "b  c=d")], PairForm::Legacy),
        ("LABEL \"a b\"=c d=e\\ f", vec![("\"a b\"", "c"), ("d", "e\\ f")], PairForm::Equals),
        ("LABEL a \"b\"", vec![("a", "\"b\"")], PairForm::Legacy),
    ] {
        let (Instruction::Env(pairs) | Instruction::Label(pairs)) = instruction(text) else { panic!() };
        let found: Vec<_> = pairs.pairs.iter().map(|pair| (pair.key.text.as_str(), pair.value.text.as_str())).collect();
        assert_eq!((found, pairs.form), (expected, form), "{text}");
    }
}

#[test]
fn a090_files() {
    let Instruction::Add(add) = instruction("ADD --checksum=sha256:x --keep-git-dir --unpack=false a b c") else {
        panic!()
    };
    assert_eq!(
        (add.checksum.unwrap().text.as_str(), add.keep_git_dir, add.unpack),
        ("sha256:x", Some(true), Some(false))
    );
    assert_eq!(add.files.destination.text, "c");
    let Instruction::Copy(copy) = instruction(r#"COPY ["a b", "c\\d", "/e f"]"#) else { panic!() };
    assert_eq!(copy.files.paths().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["a b", "c\\d"]);
    assert_eq!(copy.files.destination.text, "/e f");
    let Instruction::Copy(copy) = instruction("COPY ['a', 'b']") else { panic!() };
    assert_eq!((copy.files.sources.len(), copy.files.destination.text.as_str()), (1, "'b']"));
}

fn mount(text: &str) -> Mount {
    let Instruction::Run(run) = instruction(&format!("RUN --mount={text} x")) else { panic!() };
    run.mounts[0].resolve(|word| Ok::<_, std::convert::Infallible>(word.text.replace("$X", "x"))).unwrap()
}

#[test]
fn a131_to_a135_mounts() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        mount("dst=/a,from=st,src=b,RW"),
        Mount::Bind { target: "/a".into(), from: some("st"), source: some("b"), access: Access::ReadWrite }
    );
    let bind = |target: &str| Mount::Bind { target: target.into(), from: None, source: None, access: Access::ReadOnly };
    assert_eq!(mount("type=bind,target=$X"), bind("x"));
    assert_eq!(mount("'\"target=/a,b\"'"), bind("/a,b"));
    assert_eq!(mount("target=/a,rw=false"), bind("/a"));
    let owner = Ownership { mode: Some(0o700), uid: Some(1), gid: Some(2) };
    assert_eq!(
        mount("type=cache,id=i,target=/c,sharing=locked,mode=0700,uid=1,gid=2,ro"),
        Mount::Cache {
            target: "/c".into(),
            id: some("i"),
            from: None,
            source: None,
            sharing: Sharing::Locked,
            access: Access::ReadOnly,
            owner,
        }
    );
    assert_eq!(
        mount("type=tmpfs,target=/t,size=1.5g"),
        Mount::Tmpfs { target: "/t".into(), size_bytes: Some(3 << 29) }
    );
    assert_eq!(mount("type=bind,type=tmpfs,target=t"), Mount::Tmpfs { target: "t".into(), size_bytes: None });
}

#[test]
fn a136_a137_secrets_and_agents() {
    let secret = |id: &str, target: Option<&str>, variable: Option<&str>, need| Mount::Secret {
        id: id.into(),
        target: target.map(Into::into),
        variable: variable.map(Into::into),
        need,
        owner: Ownership::default(),
    };
    assert_eq!(mount("type=secret,id=a/b"), secret("a/b", Some("/run/secrets/b"), None, Need::Optional));
    assert_eq!(mount("type=secret,target=/x/y,required"), secret("y", Some("/x/y"), None, Need::Required));
    assert_eq!(mount("type=secret,id=a,env=A"), secret("a", None, Some("A"), Need::Optional));
    assert_eq!(mount("type=secret,id=a,env=A,dst=/f,required=0"), secret("a", Some("/f"), Some("A"), Need::Optional));
    let owner = Ownership::default();
    assert_eq!(mount("type=ssh"), Mount::Ssh { id: "default".into(), target: None, need: Need::Optional, owner });
}

#[test]
fn a152_to_a155_a162_a163_words() {
    assert_eq!(
        texts(&match instruction("EXPOSE 80/tcp  $X 90") {
            Instruction::Expose(ports) => ports,
            _ => panic!(),
        }),
        ["80/tcp", "$X", "90"]
    );
    assert_eq!(
        texts(&match instruction("VOLUME /a /b") {
            Instruction::Volume(paths) => paths,
            _ => panic!(),
        }),
        ["/a", "/b"]
    );
    assert_eq!(
        texts(&match instruction(r#"VOLUME ["/a b", " /c "]"#) {
            Instruction::Volume(paths) => paths,
            _ => panic!(),
        }),
        ["/a b", "/c"]
    );
    for (text, expected) in [("USER a b ", "a b"), ("WORKDIR  /a  b", "/a  b"), ("STOPSIGNAL SIGTERM", "SIGTERM")] {
        let (Instruction::User(word) | Instruction::Workdir(word) | Instruction::StopSignal(word)) = instruction(text)
        else {
            panic!()
        };
        assert_eq!(word.text, expected, "{text}");
    }
    assert_eq!(instruction("MAINTAINER a \"b\" <c>"), Instruction::Maintainer("a \"b\" <c>".into()));
}

#[test]
fn a160_healthchecks() {
    assert_eq!(instruction("HEALTHCHECK none"), Instruction::Healthcheck(Healthcheck::None));
    let text = "HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s --retries=3 cmd  curl x";
    let Instruction::Healthcheck(Healthcheck::Cmd(health)) = instruction(text) else { panic!() };
    assert_eq!(health.command, CommandLine::Shell("curl x".into()));
    let times = [health.interval, health.timeout, health.start_period, health.start_interval];
    assert_eq!(times, [300, 3, 1, 2].map(Duration::from_secs));
    assert_eq!(health.retries, 3);
    let Instruction::Healthcheck(Healthcheck::Cmd(health)) = instruction(r#"HEALTHCHECK CMD ["a"]"#) else { panic!() };
    assert_eq!((health.command, health.interval), (CommandLine::Exec(vec!["a".into()]), Duration::ZERO));
}

#[test]
fn a161_triggers() {
    let Instruction::OnBuild(trigger) = instruction("OnBuild  RUN cat <<E \\\n  > x\na\nE") else { panic!() };
    assert_eq!(trigger.trigger, "RUN cat <<E   > x\na\nE");
    let fired = parse_trigger(&trigger.trigger).unwrap();
    let Instruction::Run(run) = fired.value else { panic!() };
    assert_eq!(run.heredocs[0].content, "a\n");
    assert!(matches!(parse_trigger("COPY --from=x a b").unwrap().value, Instruction::Copy(_)));
    for text in ["", "RUN a\nRUN b", "FROM x", "ONBUILD RUN x", "MAINTAINER x", "NO x", "COPY x"] {
        assert!(parse_trigger(text).is_err(), "{text:?}");
    }
}

#[test]
fn a014_spans_are_those_of_the_words() {
    let source = "FROM a\nCOPY --from=b \\\n  # comment\n  ü[1] \\\n  dest\n";
    let dockerfile = read(source);
    let statement = &dockerfile.stages[0].instructions[0];
    let at = |span: crate::diagnostic::Span| &source[span.start..span.end];
    let Instruction::Copy(copy) = &statement.value else { panic!() };
    assert_eq!(at(statement.keyword), "COPY");
    assert_eq!(at(copy.from.as_ref().unwrap().span), "b");
    assert_eq!(copy.files.paths().map(|word| at(word.span)).collect::<Vec<_>>(), ["ü[1]"]);
    assert_eq!(at(copy.files.destination.span), "dest");
    assert_eq!((statement.span.first_line(source.as_bytes()), statement.span.last_line(source.as_bytes())), (2, 5));
    let source = "FROM a\nRUN --mount=type=cache,target=/x <<E\nb\nE\n";
    let dockerfile = read(source);
    let statement = &dockerfile.stages[0].instructions[0];
    let Instruction::Run(run) = &statement.value else { panic!() };
    let at = |span: crate::diagnostic::Span| &source[span.start..span.end];
    assert_eq!(at(run.mounts[0].options[1].value.as_ref().unwrap().span), "/x");
    assert_eq!((at(run.heredocs[0].opener), at(run.heredocs[0].body)), ("<<E", "b\n"));
    assert!(at(statement.span).ends_with("b\nE"));
}
