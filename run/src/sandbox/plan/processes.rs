//! The part of a plan that makes the first process: its cgroup, its namespaces, its ids, its network.

use super::{Joined, Namespace, Planner, Step};
use crate::sandbox::namespaces::Belonging;
use crate::sandbox::spec::{Network, UserNamespace};

impl Planner<'_> {
    pub(super) fn processes(&mut self) {
        self.outside.push(Step::Cgroup(self.spec.limits.clone()));
        self.outside.push(Step::Fork { namespaces: self.namespaces(), join: self.joined() });
        self.outside.extend(self.spec.oom_score.map(Step::OomScore));
        if self.has_own_user_namespace() {
            self.outside.push(Step::MapIds { uids: self.tier.uids.nested(), gids: self.tier.gids.nested() });
        }
        if matches!(self.spec.network, Network::Private | Network::PrivateOrHost) {
            self.outside.push(Step::Egress);
        }
        self.inside.push(Step::Detach);
        if self.spec.sharing.cgroups == Belonging::Own {
            self.inside.push(Step::CgroupNamespace);
        }
        if self.has_own_network() {
            self.inside.push(Step::Loopback);
        }
    }

    pub(super) fn names(&mut self) {
        if self.spec.sharing.names == Belonging::Own {
            self.inside.push(Step::Hostname(self.spec.hostname.clone()));
            self.inside.extend(self.spec.domain.clone().map(Step::Domain));
        }
    }

    fn namespaces(&self) -> Vec<Namespace> {
        let sharing = &self.spec.sharing;
        let own = [
            (Namespace::User, self.has_own_user_namespace()),
            (Namespace::Mount, true),
            (Namespace::Pid, sharing.processes == Belonging::Own),
            (Namespace::Ipc, sharing.ipc == Belonging::Own),
            (Namespace::Uts, sharing.names == Belonging::Own),
            (Namespace::Network, self.has_own_network()),
        ];
        own.into_iter().filter(|(_, is_own)| *is_own).map(|(namespace, _)| namespace).collect()
    }

    fn joined(&self) -> Vec<Joined> {
        let sharing = &self.spec.sharing;
        let network = if let Network::Join { pid } = self.spec.network { Some(pid) } else { None };
        let others = [
            (Namespace::Network, network),
            (Namespace::Ipc, sharing.ipc.of()),
            (Namespace::Pid, sharing.processes.of()),
            (Namespace::Uts, sharing.names.of()),
        ];
        others.into_iter().filter_map(|(namespace, pid)| Some(Joined { namespace, pid: pid? })).collect()
    }

    /// Whether a namespace of another box is entered, and with it the user namespace of that.
    pub(super) fn joins(&self) -> bool {
        matches!(self.spec.network, Network::Join { .. }) || self.spec.sharing.boxes().next().is_some()
    }

    pub(super) fn has_own_user_namespace(&self) -> bool {
        self.spec.user_namespace == UserNamespace::Mapped && !self.joins()
    }

    pub(super) fn is_user_namespace_entered(&self) -> bool {
        self.spec.user_namespace == UserNamespace::Mapped
    }

    pub(super) fn has_own_network(&self) -> bool {
        matches!(self.spec.network, Network::None | Network::Private | Network::PrivateOrHost)
    }
}
