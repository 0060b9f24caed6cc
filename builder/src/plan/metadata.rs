//! Instructions that change the image's config and nothing else.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use store::oci;

use super::scope::expanded;
use super::stage::State;
use super::{PlanError, error_at};
use crate::dockerfile::{CommandLine, Escape, HealthCommand, Healthcheck, Instruction, Pairs, Word};
use crate::image::text;

/// The names that STOPSIGNAL takes, without `SIG`.
const SIGNALS: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT \
                       STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";

/// Applies an instruction to the state of a stage. Those that make layers are none of its business.
pub(super) fn apply(instruction: &Instruction, state: &mut State, escape: Escape) -> Result<(), PlanError> {
    match instruction {
        Instruction::Cmd(command) => state.image.set_cmd(argv(command, state)),
        Instruction::Entrypoint(command) => state.image.set_entrypoint(argv(command, state)),
        Instruction::Env(pairs) => env(pairs, state, escape)?,
        Instruction::Expose(ports) => expose(ports, state, escape)?,
        Instruction::Healthcheck(check) => health(check, state),
        Instruction::Label(pairs) => label(pairs, state, escape)?,
        Instruction::Maintainer(name) => {
            state.image.config.author.clone_from(name);
            state.image.note(format!("MAINTAINER {name}"));
        }
        Instruction::OnBuild(on_build) => state.image.config.config.on_build.push(on_build.trigger.clone()),
        Instruction::Shell(shell) => {
            state.image.config.config.shell.clone_from(shell);
            state.image.note(format!("SHELL {}", text::plain_list(shell)));
        }
        Instruction::StopSignal(word) => stop_signal(word, state, escape)?,
        Instruction::User(word) => {
            let user = expanded(word, &state.variables, escape)?.text;
            state.image.note(format!("USER {user}"));
            state.image.config.config.user = user;
        }
        Instruction::Volume(words) => volume(words, state, escape)?,
        Instruction::Add(_)
        | Instruction::Arg(_)
        | Instruction::Copy(_)
        | Instruction::Run(_)
        | Instruction::Workdir(_) => {
            unreachable!("planned elsewhere")
        }
    }
    Ok(())
}

fn argv(command: &CommandLine, state: &State) -> Vec<String> {
    match command {
        CommandLine::Exec(argv) => argv.clone(),
        CommandLine::Shell(text) => state.with_shell(text),
    }
}

/// All values see the environment before the instruction (docs/dockerfile.md, A050).
fn pairs(pairs: &Pairs, state: &State, escape: Escape) -> Result<Vec<(String, String)>, PlanError> {
    let text = |word: &Word| expanded(word, &state.variables, escape).map(|expanded| expanded.text);
    pairs.pairs.iter().map(|pair| Ok((text(&pair.key)?, text(&pair.value)?))).collect()
}

fn env(written: &Pairs, state: &mut State, escape: Escape) -> Result<(), PlanError> {
    let mut history = "ENV".to_owned();
    for (name, value) in pairs(written, state, escape)? {
        if name.is_empty() {
            return Err(error_at(written.pairs[0].key.span, "ENV names can not be blank"));
        }
        history.push_str(&format!(" {name}={value}"));
        // All of the environment is among the variables: what is not need not be looked for.
        match state.variables.get(&name) {
            Some(_) => state.image.config.config.set_env(&name, &value),
            None => state.image.config.config.env.push(format!("{name}={value}")),
        }
        state.variables.set(&name, &value);
    }
    state.image.note(history);
    Ok(())
}

fn label(written: &Pairs, state: &mut State, escape: Escape) -> Result<(), PlanError> {
    let mut history = "LABEL".to_owned();
    for (name, value) in pairs(written, state, escape)? {
        if name.is_empty() {
            return Err(error_at(written.pairs[0].key.span, "LABEL names can not be blank"));
        }
        history.push_str(&format!(" {name}={value}"));
        state.image.config.config.labels.insert(name, value);
    }
    state.image.note(history);
    Ok(())
}

fn health(check: &Healthcheck, state: &mut State) {
    let check = match check {
        Healthcheck::None => oci::Healthcheck { test: vec!["NONE".to_owned()], ..oci::Healthcheck::default() },
        Healthcheck::Cmd(command) => health_command(command),
    };
    state.image.note(format!("HEALTHCHECK {}", text::health(&check)));
    state.image.config.config.healthcheck = Some(check);
}

fn health_command(command: &HealthCommand) -> oci::Healthcheck {
    let test = match &command.command {
        CommandLine::Exec(argv) => ["CMD".to_owned()].into_iter().chain(argv.iter().cloned()).collect(),
        CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
    };
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    oci::Healthcheck {
        test,
        interval: nanos(command.interval),
        timeout: nanos(command.timeout),
        start_period: nanos(command.start_period),
        start_interval: nanos(command.start_interval),
        retries: i64::from(command.retries),
        ..oci::Healthcheck::default()
    }
}

fn volume(words: &[Word], state: &mut State, escape: Escape) -> Result<(), PlanError> {
    let mut paths = Vec::new();
    for word in words {
        let path = expanded(word, &state.variables, escape)?.text;
        if path.is_empty() {
            return Err(error_at(word.span, "VOLUME specified can not be an empty string"));
        }
        paths.push(path);
    }
    state.image.note(format!("VOLUME {}", text::plain_list(&paths)));
    state.image.config.config.volumes.extend(paths);
    Ok(())
}

fn stop_signal(word: &Word, state: &mut State, escape: Escape) -> Result<(), PlanError> {
    let signal = expanded(word, &state.variables, escape)?.text;
    if !is_signal(&signal) {
        return Err(error_at(word.span, format!("invalid signal: {signal}")));
    }
    state.image.note(format!("STOPSIGNAL {signal}"));
    state.image.config.config.stop_signal = signal;
    Ok(())
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str| name.strip_prefix(prefix).and_then(|offset| offset.parse::<u8>().ok());
    SIGNALS.split_whitespace().any(|signal| signal == name)
        || offset("RTMIN+").or_else(|| offset("RTMAX-")).is_some_and(|offset| (1..=15).contains(&offset))
}

/// The history lists ports in the order of the words as written, sorted (docs/dockerfile.md, B009).
fn expose(words: &[Word], state: &mut State, escape: Escape) -> Result<(), PlanError> {
    let mut ports = Vec::new();
    let mut words: Vec<&Word> = words.iter().collect();
    words.sort_by(|a, b| a.text.cmp(&b.text));
    for word in words {
        for text in expanded(word, &state.variables, escape)?.words {
            ports.extend(exposed(&text).map_err(|reason| error_at(word.span, reason))?);
        }
    }
    state.image.note(format!("EXPOSE {}", text::plain_list(&ports)));
    state.image.config.config.exposed_ports.extend(ports);
    Ok(())
}

/// `[[ip:]host:]port[-port][/protocol]`; only the container's side counts, the rest has to be
/// right (docs/dockerfile.md, A152).
fn exposed(text: &str) -> Result<Vec<String>, String> {
    let mut parts = text.rsplitn(3, ':');
    let port = parts.next().unwrap_or(text);
    let (host_port, address) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (range, protocol) = port.split_once('/').unwrap_or((port, ""));
    if range.is_empty() {
        return Err(format!("no port specified: {port}<empty>"));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => return Err(format!("invalid proto: {other}")),
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    let ports = port_range(range).ok_or_else(|| format!("invalid containerPort: {range}"))?;
    if !host_port.is_empty() {
        let host = port_range(host_port).ok_or_else(|| format!("invalid hostPort: {host_port}"))?;
        if ports.len() > 1 && host.len() != ports.len() {
            return Err(format!("invalid ranges specified for container and host Ports: {range} and {host_port}"));
        }
    }
    Ok(ports.map(|port| format!("{port}/{protocol}")).collect())
}

/// `80` or `80-82`.
fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("80", Ok(vec!["80/tcp"])),
            ("53/UDP", Ok(vec!["53/udp"])),
            ("1-3/sctp", Ok(vec!["1/sctp", "2/sctp", "3/sctp"])),
            ("80/", Ok(vec!["80/tcp"])),
            ("8080:80", Ok(vec!["80/tcp"])),
            ("127.0.0.1:8080:80", Ok(vec!["80/tcp"])),
            ("", Err("no port specified: <empty>")),
            ("/tcp", Err("no port specified: /tcp<empty>")),
            ("80/x", Err("invalid proto: x")),
            ("3-1", Err("invalid containerPort: 3-1")),
            ("70000", Err("invalid containerPort: 70000")),
            ("+80", Err("invalid containerPort: +80")),
            ("1-2-3", Err("invalid containerPort: 1-2-3")),
            ("[::1]:1:80", Ok(vec!["80/tcp"])),
            ("1-2:80", Ok(vec!["80/tcp"])),
            ("1-2:80-81", Ok(vec!["80/tcp", "81/tcp"])),
            ("x:80", Err("invalid hostPort: x")),
            ("host:1:80", Err("invalid IP address: host")),
            ("1-3:80-81", Err("invalid ranges specified for container and host Ports: 80-81 and 1-3")),
        ] {
            let expected =
                expected.map(|ports| ports.into_iter().map(str::to_owned).collect::<Vec<_>>()).map_err(str::to_owned);
            assert_eq!(exposed(text), expected, "{text}");
        }
    }

    #[test]
    fn signals_are_names_or_numbers() {
        for (text, expected) in [
            ("SIGTERM", true),
            ("term", true),
            ("9", true),
            ("RTMIN+3", true),
            ("0", false),
            ("SIGX", false),
            ("", false),
        ] {
            assert_eq!(is_signal(text), expected, "{text}");
        }
    }
}
