//! kiln: a daemonless, Nix-style builder of container images.
//!
//! The command: arguments in, text and exit status out. Everything else is in the crates beside it.

mod cli;
mod command;
mod containers;
mod context;
mod format;
mod interrupt;
mod proxies;
mod report;
mod sources;
mod ui;
mod unsupported;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{Cli, Command, ContainerCommand, ImageCommand, SystemCommand};
use crate::context::Context;
use crate::report::{Failure, Statuses};

fn main() -> ExitCode {
    run::intercept();
    let cli = match Cli::try_parse_from(cli::without_truths(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let statuses = match &cli.command {
        Command::Run(_) | Command::Container(ContainerCommand::Run(_)) => Statuses::Container,
        _ => Statuses::Plain,
    };
    let context = Context::new(&cli.global);
    dispatch(&cli.command, &context).unwrap_or_else(|failure| match failure {
        Failure::Error(_) if context.is_interrupted() => report::interrupted(),
        failure => report::report(&failure, statuses),
    })
}

fn dispatch(verb: &Command, context: &Context) -> Result<ExitCode, Failure> {
    use command::*;
    match verb {
        Command::Build(args) | Command::Image(ImageCommand::Build(args)) => build::run(args, context),
        Command::Run(args) | Command::Container(ContainerCommand::Run(args)) => run::run(args, context),
        Command::Create(args) | Command::Container(ContainerCommand::Create(args)) => create::run(args, context),
        Command::Start(args) | Command::Container(ContainerCommand::Start(args)) => start::run(args, context),
        Command::Attach(args) | Command::Container(ContainerCommand::Attach(args)) => attach::run(args, context),
        Command::Exec(args) | Command::Container(ContainerCommand::Exec(args)) => exec::run(args, context),
        Command::Top(args) | Command::Container(ContainerCommand::Top(args)) => top::run(args, context),
        Command::Stats(args) | Command::Container(ContainerCommand::Stats(args)) => stats::run(args, context),
        Command::Port(args) | Command::Container(ContainerCommand::Port(args)) => port::run(args, context),
        Command::Restart(args) | Command::Container(ContainerCommand::Restart(args)) => restart::run(args, context),
        Command::Pause(args) | Command::Container(ContainerCommand::Pause(args)) => pause::pause(args, context),
        Command::Unpause(args) | Command::Container(ContainerCommand::Unpause(args)) => pause::unpause(args, context),
        Command::Rename(args) | Command::Container(ContainerCommand::Rename(args)) => rename::run(args, context),
        Command::Update(args) | Command::Container(ContainerCommand::Update(args)) => update::run(args, context),
        Command::Container(ContainerCommand::Prune(args)) => prune::run(args, context),
        Command::Ps(args) | Command::Container(ContainerCommand::Ls(args)) => ps::run(args, context),
        Command::Logs(args) | Command::Container(ContainerCommand::Logs(args)) => logs::run(args, context),
        Command::Stop(args) | Command::Container(ContainerCommand::Stop(args)) => stop::run(args, context),
        Command::Kill(args) | Command::Container(ContainerCommand::Kill(args)) => kill::run(args, context),
        Command::Rm(args) | Command::Container(ContainerCommand::Rm(args)) => rm::run(args, context),
        Command::Wait(args) | Command::Container(ContainerCommand::Wait(args)) => wait::run(args, context),
        Command::Commit(args) | Command::Container(ContainerCommand::Commit(args)) => commit::run(args, context),
        Command::Cp(args) | Command::Container(ContainerCommand::Cp(args)) => cp::run(args, context),
        Command::Diff(args) | Command::Container(ContainerCommand::Diff(args)) => diff::run(args, context),
        Command::Export(args) | Command::Container(ContainerCommand::Export(args)) => export::run(args, context),
        Command::Images(args) | Command::Image(ImageCommand::Ls(args)) => images::run(args, context),
        Command::Rmi(args) | Command::Image(ImageCommand::Rm(args)) => rmi::run(args, context),
        Command::Image(ImageCommand::Prune(args)) => prune::images::run(args, context),
        Command::Tag(args) | Command::Image(ImageCommand::Tag(args)) => tag::run(args, context),
        Command::Push(args) | Command::Image(ImageCommand::Push(args)) => push::run(args, context),
        Command::Pull(args) | Command::Image(ImageCommand::Pull(args)) => pull::run(args, context),
        Command::Load(args) | Command::Image(ImageCommand::Load(args)) => load::run(args, context),
        Command::Save(args) | Command::Image(ImageCommand::Save(args)) => save::run(args, context),
        Command::Import(args) | Command::Image(ImageCommand::Import(args)) => import::run(args, context),
        Command::History(args) | Command::Image(ImageCommand::History(args)) => history::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Image(ImageCommand::Inspect(args)) => inspect::run_image(args, context),
        Command::Container(ContainerCommand::Inspect(args)) => inspect::run_container(args, context),
        Command::Login(args) => login::run(args, context),
        Command::Logout(args) => logout::run(args, context),
        Command::Info(args) | Command::System(SystemCommand::Info(args)) => info::run(args, context),
        Command::Version(args) => version::run(args, context),
        Command::Tags(args) => tags::run(args, context),
        Command::Manifest(verb) => manifest::run(verb, context),
        Command::Registry(verb) => registry::run(verb, context),
        Command::Volume(verb) => volume::run(verb, context),
        Command::Cache(verb) => cache::run(verb, context),
        Command::Why(args) => why::run(args, context),
        Command::Store(verb) => store::run(verb, context),
        Command::System(SystemCommand::Df(args)) => store::usage(args, context),
        Command::System(SystemCommand::Prune(args)) => store::prune(args, context),
    }
}

/// Help and version are results. Of mistakes, flags that are not known or have no such value end with
/// 125, as with `docker`, and so does everything about `run`; others with 1.
fn usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    match unsupported::named_in(error, &arguments) {
        Some(name) => context::note(format!("error: {}", unsupported::sentence(&name))),
        None => drop(error.print()),
    }
    let is_run = arguments.iter().take(3).any(|argument| argument == "run");
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        ErrorKind::UnknownArgument | ErrorKind::InvalidValue | ErrorKind::ValueValidation => ExitCode::from(125),
        _ if is_run => ExitCode::from(125),
        _ => ExitCode::FAILURE,
    }
}
