//! The servers that a boot connects to: which of them it reaches as the running system does.

use std::net::IpAddr;

use nightlatch_console::report::{Level, Report};
use nightlatch_core::connect::{Scope, Target, TargetHost};
use nightlatch_core::network::learn::{ReachMethod, RemarkKind, ServerRoute, learn};
use nightlatch_core::network::reach::{boot_route, needs_address};
use nightlatch_core::network::snapshot::KernelLink;
use nightlatch_core::network::{Definition, LinkKind};

use super::{BootNetwork, LEARN};
use crate::network::{Ways, drift};

/// The servers that a boot reaches only with addresses that the boot system configures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::check) enum Addressed {
    None,
    Some,
    All,
}

/// The findings about one server.
#[derive(Default)]
struct Verdict {
    findings: Vec<Finding>,
}

struct Finding {
    level: Level,
    said: String,
    hint: Option<String>,
    /// True for a fault of the settings, which no other server makes good.
    is_fault: bool,
}

impl Verdict {
    fn add(&mut self, level: Level, said: String, hint: Option<&str>) {
        self.findings.push(Finding {
            level,
            said,
            hint: hint.map(str::to_owned),
            is_fault: false,
        });
    }

    fn is_reached(&self) -> bool {
        let failed = |it: &Finding| it.level == Level::Failed;
        !self.findings.iter().any(failed)
    }
}

impl BootNetwork {
    /// Says how a boot reaches each of the servers, and answers with those that it does reach. One is enough: then it is
    /// no failure that it does not reach another.
    pub(super) fn targets(
        &self,
        targets: &[Target],
        ways: &[Ways],
        report: &mut Report,
    ) -> Vec<Target> {
        let all = targets.iter().zip(ways);
        let all: Vec<(&Target, Verdict)> = all
            .map(|(target, ways)| (target, self.verdict(target, ways)))
            .collect();
        let reached = all.iter().filter(|(_, verdict)| verdict.is_reached());
        let reached: Vec<Target> = reached.map(|(target, _)| (*target).clone()).collect();
        for finding in all.into_iter().flat_map(|(_, verdict)| verdict.findings) {
            let is_enough = !reached.is_empty() && !finding.is_fault;
            let level = match finding.level {
                Level::Failed if is_enough => Level::Warning,
                level => level,
            };
            report.add(level, "network", finding.said, finding.hint);
        }
        reached
    }

    /// A boot must reach the server as the running system does.
    fn verdict(&self, target: &Target, ways: &Ways) -> Verdict {
        let mut verdict = Verdict::default();
        for trouble in &ways.troubles {
            let hint = "the running system does not reach it either";
            verdict.add(Level::Failed, trouble.clone(), Some(hint));
        }
        let kernel = &self.command.parameters;
        if kernel.configures_addresses && !kernel.forbids_addresses {
            let said = format!(
                "ip= in {} gives addresses at boot: whether they lead to {target} is not tried",
                self.command.kernel_line
            );
            verdict.add(Level::Warning, said, None);
            return verdict;
        }
        match &target.host {
            TargetHost::Name(name) if self.asks() => {
                let said = format!(
                    "{name} is a name: whether the network of a boot brings a resolver that knows it is not tried"
                );
                verdict.add(Level::Warning, said, None);
                return verdict;
            }
            TargetHost::Name(name) => {
                let said = format!("{name} is a name, and a boot has nothing that resolves names");
                let addresses: Vec<String> = routed(&ways.ways).map(|it| it.to_string()).collect();
                let hint = match addresses.is_empty() {
                    true => "name the server by its address".to_owned(),
                    false => format!("name the server by its address: {}", addresses.join(" or ")),
                };
                verdict.findings.push(Finding {
                    level: Level::Failed,
                    said,
                    hint: Some(hint),
                    is_fault: true,
                });
                return verdict;
            }
            TargetHost::LinkLocal(_, Some(Scope::Name(name))) if !self.has_at_boot(name) => {
                let said = format!("{target} is on {name}, which a boot does not have");
                verdict.add(Level::Failed, said, Some(LEARN));
            }
            TargetHost::LinkLocal(_, Some(Scope::Index(_))) => {
                let said = format!(
                    "{target} names its interface by a number, which may be another one at boot"
                );
                let hint = "name the interface: [fe80::1%eth0]:4711";
                verdict.add(Level::Warning, said, Some(hint));
            }
            _ => {}
        }
        for way in &ways.ways {
            if let ReachMethod::Routed(routed) = &way.reach {
                self.route(way, routed.to, routed.via, &mut verdict);
            }
        }
        verdict
    }

    /// The servers that a boot reaches only when the boot system configures addresses.
    pub(in crate::check) fn addressed_servers(&self) -> Addressed {
        let servers = self.command.servers();
        let made = self.made();
        let all = servers.targets().count();
        match servers
            .targets()
            .filter(|it| needs_address(&made, it))
            .count()
        {
            _ if self.command.parameters.forbids_addresses => Addressed::None,
            0 => Addressed::None,
            count if count == all => Addressed::All,
            _ => Addressed::Some,
        }
    }

    /// True when the boot system asks for what network.conf does not give.
    fn asks(&self) -> bool {
        self.asks_for_addresses && !self.command.parameters.forbids_addresses
    }

    /// The links that a boot makes: those of the interfaces that it is told to use.
    fn made(&self) -> Definition {
        let names = self.command.interfaces();
        let named: Vec<&String> = names.iter().take_while(|name| *name != "none").collect();
        match (names.is_empty(), named.is_empty()) {
            (true, _) => self.definition.clone(),
            (false, true) => Definition::default(),
            (false, false) => self.definition.clone().needed_for(&named),
        }
    }

    fn route(&self, way: &ServerRoute, to: IpAddr, via: Option<IpAddr>, verdict: &mut Verdict) {
        let shown = |via: Option<IpAddr>| match via {
            Some(via) => format!("by the gateway {via}"),
            None => "without a gateway".to_owned(),
        };
        let at_boot = match boot_route(&self.made(), to) {
            Ok(at_boot) => at_boot,
            Err(why) => {
                let learned = learn(&self.snapshot, std::slice::from_ref(way));
                let by_router = |it: &RemarkKind| matches!(it, RemarkKind::Router(_));
                if learned.remarks.iter().any(|it| by_router(&it.what)) {
                    let said = format!(
                        "{to}: a router gives the address for it at boot, as it does now; that is not tried"
                    );
                    return verdict.add(Level::Warning, said, None);
                }
                let said = format!("a boot does not reach {to}: {why}");
                return verdict.add(Level::Failed, said, Some(LEARN));
            }
        };
        let link = &at_boot.link;
        let now = self.snapshot.link(way.link).map_or("?", KernelLink::name);
        let running = self
            .definition
            .link(link.as_str())
            .and_then(|it| drift::in_use(&self.definition, it, &self.snapshot));
        let same_link = running.is_some_and(|it| it.present.index == way.link);
        let is_made = self
            .definition
            .link(link.as_str())
            .is_some_and(|it| !matches!(it.kind, LinkKind::Device(_)));
        if at_boot.by_dhcp && is_made {
            let said = format!(
                "a boot does not reach {to}: the running system has the address of {link} by DHCP, and a boot asks for none \
                 on a link that it makes"
            );
            let hint = "put a static address into network.conf";
            return verdict.add(Level::Failed, said, Some(hint));
        }
        if at_boot.by_dhcp && self.asks() {
            let said = format!(
                "a boot asks for an address by DHCP on {link} to reach {to}, as the running system did: that is not tried"
            );
            return verdict.add(Level::Warning, said, None);
        }
        if at_boot.by_dhcp {
            let said = format!(
                "a boot does not reach {to}: the running system has the address of {link} by DHCP, and a boot asks \
                 for none"
            );
            let hint =
                "put ip=dhcp on the kernel's command line, or a static address into network.conf";
            return verdict.add(Level::Failed, said, Some(hint));
        }
        if !same_link || at_boot.via != via {
            let said = format!(
                "a boot would reach {to} over {link} {}; now it is reached over {now} {}",
                shown(at_boot.via),
                shown(via)
            );
            return verdict.add(Level::Failed, said, Some(LEARN));
        }
        let said = format!(
            "a boot reaches {to} over {link} {}, as the running system does",
            shown(via)
        );
        verdict.add(Level::Ok, said, None);
    }
}

fn routed(ways: &[ServerRoute]) -> impl Iterator<Item = IpAddr> {
    ways.iter().filter_map(|way| match &way.reach {
        ReachMethod::Routed(routed) => Some(routed.to),
        ReachMethod::Neighbour => None,
    })
}
