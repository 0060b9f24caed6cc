//! `kiln login`

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use nix::sys::termios::{self, LocalFlags, SetArg};
use registry::{Credential, Host, Kept, Secret};

use super::wire::{TlsArgs, registry};
use crate::context::{Context, note};
use crate::report::{Failure, UsageError};

/// Log in to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry's host [default: Docker Hub]
    #[arg(default_value = "docker.io", value_parser = Host::new)]
    host: Host,
    /// The user's name
    #[arg(short, long)]
    username: Option<String>,
    /// The password; other users of this machine can see it in the list of processes
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Shows the credentials to the registry and keeps them if it takes them.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let (username, password) = args.credentials()?;
    let credential = Credential::Password { username, password: Secret::new(password) };
    let kept = registry(args.tls.verify())?.login(&args.host, &credential, &|_| {})?;
    if let Kept::File(file) = kept {
        note(format!("the password is kept unencrypted in {}; a credential helper would do better", file.display()));
    }
    context.print("Login Succeeded")?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn credentials(&self) -> Result<(String, String), Failure> {
        if self.password.is_some() {
            note("a password on the command line can be seen by others: --password-stdin is safe");
        }
        if self.password_stdin {
            let username =
                self.username.clone().ok_or_else(|| UsageError::wrong("--password-stdin needs --username"))?;
            let mut password = String::new();
            io::stdin().lock().read_to_string(&mut password)?;
            return Ok((username, password.trim_end_matches(['\r', '\n']).to_owned()));
        }
        let username = match &self.username {
            Some(username) => username.clone(),
            None => ask("Username: ")?,
        };
        let password = match &self.password {
            Some(password) => password.clone(),
            None => ask_hidden("Password: ")?,
        };
        Ok((username, password))
    }
}

fn ask(prompt: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(UsageError::wrong("there is no terminal to ask on: use --username and --password-stdin"));
    }
    let mut stderr = io::stderr().lock();
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks without showing what is typed. Ctrl-C is read as a character, so that the terminal is as it was
/// in any case.
fn ask_hidden(prompt: &str) -> Result<String, Failure> {
    const CTRL_C: u8 = 3;
    let stdin = io::stdin();
    let Ok(before) = termios::tcgetattr(&stdin) else { return ask(prompt) };
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::ICANON);
    write!(io::stderr(), "{prompt}")?;
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)?;
    let mut typed = Vec::new();
    let read = read_hidden(&mut typed, CTRL_C);
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &before)?;
    writeln!(io::stderr())?;
    read?;
    if typed.last() == Some(&CTRL_C) {
        return Err(Failure::Status(130));
    }
    Ok(String::from_utf8_lossy(&typed).into_owned())
}

/// Reads up to a newline, or up to and with the byte that ends it all; backspace takes back.
fn read_hidden(typed: &mut Vec<u8>, end: u8) -> io::Result<()> {
    const BACKSPACE: [u8; 2] = [8, 127];
    for byte in io::stdin().lock().bytes() {
        match byte? {
            b'\n' | b'\r' => return Ok(()),
            byte if BACKSPACE.contains(&byte) => drop(typed.pop()),
            byte => {
                typed.push(byte);
                if byte == end {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
