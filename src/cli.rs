//! The command line as typed: every verb, and the groups that Docker has beside the verbs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use crate::command::*;

/// Builds container images from Dockerfiles without a daemon, and runs them.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, disable_help_subcommand = true, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where everything is kept [default: $KILN_ROOT, else /var/lib/kiln for root, $XDG_DATA_HOME/kiln for others]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

/// The verbs. The groups hold the same verbs under Docker's longer names.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(Box<build::Args>),
    Run(Box<run::Args>),
    Create(Box<create::Args>),
    Start(start::Args),
    Attach(attach::Args),
    Exec(exec::Args),
    Ps(ps::Args),
    Top(top::Args),
    Stats(stats::Args),
    Port(port::Args),
    Logs(logs::Args),
    Stop(stop::Args),
    Kill(kill::Args),
    Restart(restart::Args),
    Pause(pause::PauseArgs),
    Unpause(pause::UnpauseArgs),
    Rename(rename::Args),
    Update(update::Args),
    Rm(rm::Args),
    Wait(wait::Args),
    Commit(commit::Args),
    Cp(cp::Args),
    Diff(diff::Args),
    Export(export::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Tag(tag::Args),
    Push(push::Args),
    Pull(pull::Args),
    Login(login::Args),
    Logout(logout::Args),
    Load(load::Args),
    Save(save::Args),
    Import(import::Args),
    Inspect(inspect::Args),
    History(history::Args),
    Why(why::Args),
    Tags(tags::Args),
    Version(version::Args),
    Info(info::Args),
    /// Work with images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Work with containers
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Work with volumes
    #[command(subcommand)]
    Volume(volume::Command),
    /// Look at manifests at their registries
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Look at registries
    #[command(subcommand)]
    Registry(registry::Command),
    /// Look at kiln as a whole
    #[command(subcommand)]
    System(SystemCommand),
    /// Look at what is cached, and from which inputs
    #[command(subcommand)]
    Cache(cache::Command),
    /// Look after the store
    #[command(subcommand)]
    Store(store::Command),
}

/// `kiln image …`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    Build(Box<build::Args>),
    History(history::Args),
    Import(import::Args),
    Inspect(inspect::ImageArgs),
    Load(load::Args),
    #[command(visible_alias = "list")]
    Ls(images::Args),
    Prune(prune::images::Args),
    Pull(pull::Args),
    Push(push::Args),
    Rm(rmi::Args),
    Save(save::Args),
    Tag(tag::Args),
}

/// `kiln container …`
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    Attach(attach::Args),
    Commit(commit::Args),
    Cp(cp::Args),
    Create(Box<create::Args>),
    Diff(diff::Args),
    Exec(exec::Args),
    Export(export::Args),
    Inspect(inspect::ContainerArgs),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Pause(pause::PauseArgs),
    Port(port::Args),
    Prune(prune::Args),
    Rename(rename::Args),
    Restart(restart::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Run(Box<run::Args>),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
    Unpause(pause::UnpauseArgs),
    Update(update::Args),
    Wait(wait::Args),
}

/// `kiln system …`
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    Df(store::UsageArgs),
    Info(info::Args),
    Prune(store::PruneArgs),
}

/// The switches of `kiln build` with a truth value, as Docker takes them: `--push=true` is `--push`, and
/// `--push=false` is nothing. Of other verbs the words may be those of a command that runs in a container.
pub(crate) fn without_truths(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let text = |index: usize| arguments[index].to_str().unwrap_or_default();
    let is_word = |index: &usize| !text(*index).starts_with('-') && text(index - 1) != "--root";
    let verb = (1..arguments.len()).filter(is_word).find(|index| text(*index) != "image");
    let Some(verb) = verb.filter(|verb| text(*verb) == "build") else { return arguments };
    let command = Cli::command();
    let build = command.find_subcommand("build").into_iter().flat_map(clap::Command::get_arguments);
    let switches = build.filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue));
    let names: BTreeSet<String> = switches.filter_map(clap::Arg::get_long).map(|name| format!("--{name}")).collect();
    let after = arguments.split_off(verb + 1);
    arguments.extend(after.into_iter().filter_map(|argument| without_truth(argument, &names)));
    arguments
}

fn without_truth(argument: OsString, switches: &BTreeSet<String>) -> Option<OsString> {
    match argument.to_str().and_then(|text| text.split_once('=')) {
        Some((name, value)) if switches.contains(name) => match value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(name.into()),
            "false" | "f" | "0" => None,
            _ => Some(argument),
        },
        _ => Some(argument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(without_truths(words(line)), words(expected));
    }

    #[test]
    fn switches_take_truth_values() {
        check("kiln build --push=true --no-cache=false --load=1 .", "kiln build --push --load .");
        check("kiln --root /x image build --squash=True .", "kiln --root /x image build --squash .");
        check("kiln --root=/x build --squash=no -t=true .", "kiln --root=/x build --squash=no -t=true .");
        check("kiln run build x --push=true", "kiln run build x --push=true");
        check("kiln", "kiln");
    }

    #[test]
    fn the_flags_of_every_verb_fit_together() {
        Cli::command().debug_assert();
    }
}
