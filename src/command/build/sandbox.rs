//! The flags of `kiln build` that are about the box of its RUN steps: namespaces, devices, and the
//! files of `/etc` that kiln writes.
//!
//! Namespaces are a step's own unless they are the machine's; there are no other boxes to share with.

use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::str::FromStr;

use builder::graph::Device;
use builder::request::BuildRequest;
use run::container::device;
use run::sandbox::{Belonging, EtcFile, Sharing, UserNamespace};
use store::RelPath;

use crate::report::{Failure, UsageError};

/// How RUN steps are apart from the machine.
#[derive(Debug, clap::Args)]
pub(super) struct BoxArgs {
    /// RUN steps see the image's /etc/hosts, not one of kiln's
    #[arg(long, conflicts_with = "add_hosts")]
    no_hosts: bool,
    /// RUN steps see the image's /etc/hostname, not one of kiln's
    #[arg(long)]
    no_hostname: bool,
    /// A device node of this machine that RUN steps may use
    #[arg(long = "device", value_name = "NODE[:TARGET]")]
    devices: Vec<String>,
    /// Whose users RUN steps have: private, or host, where root inside is root outside
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Whose processes RUN steps see: private, or host, which implies --userns=host
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// Whose queues and memory RUN steps see: private, or host, which implies --userns=host
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// Whose host name RUN steps see: private, or host
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Where paths of cgroups begin in RUN steps: private, or host
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    #[arg(long, hide = true, value_name = "KIND")]
    isolation: Option<String>,
}

/// `--dns`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameServer {
    /// Steps ask it.
    At(IpAddr),
    /// Steps see the image's `/etc/resolv.conf`.
    OfImage,
}

impl FromStr for NameServer {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self::OfImage) } else { text.parse().map(Self::At) }
    }
}

impl BoxArgs {
    /// Puts into a request what the flags ask for.
    pub(super) fn fill(&self, request: &mut BuildRequest) -> Result<(), Failure> {
        self.check_isolation()?;
        let kept = [(self.no_hosts, EtcFile::Hosts), (self.no_hostname, EtcFile::Hostname)];
        request.kept_files.extend(kept.into_iter().filter_map(|(is_kept, file)| is_kept.then_some(file)));
        request.privileges.namespaces = self.namespaces()?;
        request.privileges.users = self.users(&request.privileges.namespaces)?;
        request.privileges.devices = self.devices.iter().map(|text| device(text)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn namespaces(&self) -> Result<Sharing, Failure> {
        Ok(Sharing {
            ipc: belonging("ipc", self.ipc.as_deref())?,
            processes: belonging("pid", self.pid.as_deref())?,
            names: belonging("uts", self.uts.as_deref())?,
            cgroups: belonging("cgroupns", self.cgroupns.as_deref())?,
        })
    }

    /// With users of its own a step could do nothing to what it then sees.
    fn users(&self, namespaces: &Sharing) -> Result<UserNamespace, Failure> {
        let sees_the_host = namespaces.processes == Belonging::Host || namespaces.ipc == Belonging::Host;
        match belonging("userns", self.userns.as_deref().filter(|mode| *mode != "auto"))? {
            Belonging::Host => Ok(UserNamespace::Host),
            _ if sees_the_host => Ok(UserNamespace::Host),
            _ => Ok(UserNamespace::Mapped),
        }
    }

    /// Every step has namespaces of its own, which is what buildah calls `oci` and `rootless`.
    fn check_isolation(&self) -> Result<(), Failure> {
        match self.isolation.as_deref() {
            None | Some("" | "default" | "oci" | "rootless") => Ok(()),
            Some("chroot") => Err(UsageError::wrong(
                "--isolation=chroot is not supported: RUN steps have namespaces of their own, which need no privileges \
                 either; `kiln info` tells what this machine allows",
            )),
            Some(other) => Err(UsageError::Unsupported(format!("--isolation={other}")).into()),
        }
    }
}

fn belonging(name: &str, mode: Option<&str>) -> Result<Belonging, Failure> {
    match mode {
        None | Some("" | "private" | "container") => Ok(Belonging::Own),
        Some("host") => Ok(Belonging::Host),
        Some(other) => Err(UsageError::Unsupported(format!("--{name}={other}")).into()),
    }
}

/// `NODE[:TARGET][:rwm]`: as `kiln run` has it, but for less than reading and writing, and for whole directories.
fn device(text: &str) -> Result<Device, Failure> {
    let wrong = |why: &str| UsageError::wrong(format!("invalid device {text:?}: {why}"));
    let asked: device::Device = text.parse()?;
    if !asked.access.contains('r') || !asked.access.contains('w') {
        return Err(wrong("only rw and rwm are supported"));
    }
    let source = asked.source;
    let found = std::fs::metadata(&source).map_err(store::StoreError::io("find the device", &source))?.file_type();
    if !found.is_char_device() && !found.is_block_device() {
        return Err(wrong("it is no device node"));
    }
    let target = RelPath::clean(asked.target.as_os_str().as_encoded_bytes()).ok().filter(|target| !target.is_root());
    Ok(Device { source, target: target.ok_or_else(|| wrong("its target leads nowhere"))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule C062.
    #[test]
    fn devices_are_nodes() {
        let target = |text: &str| device(text).ok().map(|device| device.target.to_string());
        assert_eq!(target("/dev/null").as_deref(), Some("/dev/null"));
        assert_eq!(target("/dev/null:rwm").as_deref(), Some("/dev/null"));
        assert_eq!(target("/dev/null:/dev/x").as_deref(), Some("/dev/x"));
        assert_eq!(target("/dev/null:/dev/x:rw").as_deref(), Some("/dev/x"));
        for text in ["", "null", "vendor.com/gpu=all", "/dev", "/dev/null:r", "/dev/null:x", "/dev/null:/a:b:c", "/no"]
        {
            assert_eq!(target(text), None, "{text}");
        }
    }

    /// Rule C062: `none` leaves the image's file.
    #[test]
    fn name_servers() {
        assert_eq!("none".parse(), Ok(NameServer::OfImage));
        assert_eq!("::1".parse(), Ok(NameServer::At("::1".parse().expect("an address"))));
        assert!("x".parse::<NameServer>().is_err());
    }
}
