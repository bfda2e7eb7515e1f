//! The servers that a boot connects to: which of them it reaches as the running system does.

use std::net::IpAddr;

use nightlatch_console::report::{Level, Report};
use nightlatch_core::connect::{Scope, Target, TargetHost};
use nightlatch_core::network::learn::{ReachMethod, RemarkKind, ServerRoute, learn};
use nightlatch_core::network::reach::{boot_route, needs_address};
use nightlatch_core::network::snapshot::KernelLink;
use nightlatch_core::network::{Definition, LinkKind};

use super::{BootNetwork, LEARN};
use crate::network::{ServerRoutes, drift};

/// The servers that a boot reaches only with addresses that the boot system configures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::check) enum AddressedServers {
    None,
    Some,
    All,
}

/// The findings about one server.
#[derive(Default)]
struct ServerFindings {
    findings: Vec<ServerFinding>,
}

struct ServerFinding {
    level: Level,
    message: String,
    hint: Option<String>,
    /// True for a fault of the settings, which no other server makes good.
    is_fault: bool,
}

impl ServerFindings {
    fn add(&mut self, level: Level, message: String, hint: Option<&str>) {
        self.findings.push(ServerFinding {
            level,
            message,
            hint: hint.map(str::to_owned),
            is_fault: false,
        });
    }

    fn is_reached(&self) -> bool {
        let failed = |it: &ServerFinding| it.level == Level::Failed;
        !self.findings.iter().any(failed)
    }
}

impl BootNetwork {
    /// Says how a boot reaches each of the servers, and answers with those that it does reach. One is enough: then it is
    /// no failure that it does not reach another.
    pub(super) fn targets(
        &self,
        targets: &[Target],
        routes: &[ServerRoutes],
        report: &mut Report,
    ) -> Vec<Target> {
        let all = targets.iter().zip(routes);
        let all: Vec<(&Target, ServerFindings)> = all
            .map(|(target, routes)| (target, self.verdict(target, routes)))
            .collect();
        let reached = all.iter().filter(|(_, verdict)| verdict.is_reached());
        let reached: Vec<Target> = reached.map(|(target, _)| (*target).clone()).collect();
        for finding in all.into_iter().flat_map(|(_, verdict)| verdict.findings) {
            let is_enough = !reached.is_empty() && !finding.is_fault;
            let level = match finding.level {
                Level::Failed if is_enough => Level::Warning,
                level => level,
            };
            report.add(level, "network", finding.message, finding.hint);
        }
        reached
    }

    /// A boot must reach the server as the running system does.
    fn verdict(&self, target: &Target, routes: &ServerRoutes) -> ServerFindings {
        let mut verdict = ServerFindings::default();
        for trouble in &routes.troubles {
            let hint = "the running system does not reach it either";
            verdict.add(Level::Failed, trouble.clone(), Some(hint));
        }
        let kernel = &self.command.parameters;
        if kernel.configures_addresses && !kernel.forbids_addresses {
            let message = format!(
                "ip= in {} gives addresses at boot: whether they lead to {target} is not tried",
                self.command.kernel_line
            );
            verdict.add(Level::Warning, message, None);
            return verdict;
        }
        match &target.host {
            TargetHost::Name(name) if self.asks() => {
                let message = format!(
                    "{name} is a name: whether the network of a boot brings a resolver that knows it is not tried"
                );
                verdict.add(Level::Warning, message, None);
                return verdict;
            }
            TargetHost::Name(name) => {
                let message =
                    format!("{name} is a name, and a boot has nothing that resolves names");
                let addresses: Vec<String> =
                    routed(&routes.routes).map(|it| it.to_string()).collect();
                let hint = match addresses.is_empty() {
                    true => "name the server by its address".to_owned(),
                    false => format!("name the server by its address: {}", addresses.join(" or ")),
                };
                verdict.findings.push(ServerFinding {
                    level: Level::Failed,
                    message,
                    hint: Some(hint),
                    is_fault: true,
                });
                return verdict;
            }
            TargetHost::LinkLocal(_, Some(Scope::Name(name))) if !self.has_at_boot(name) => {
                let message = format!("{target} is on {name}, which a boot does not have");
                verdict.add(Level::Failed, message, Some(LEARN));
            }
            TargetHost::LinkLocal(_, Some(Scope::Index(_))) => {
                let message = format!(
                    "{target} names its interface by a number, which may be another one at boot"
                );
                let hint = "name the interface: [fe80::1%eth0]:4711";
                verdict.add(Level::Warning, message, Some(hint));
            }
            _ => {}
        }
        for way in &routes.routes {
            if let ReachMethod::Routed(routed) = &way.reach {
                self.route(way, routed.to, routed.via, &mut verdict);
            }
        }
        verdict
    }

    /// The servers that a boot reaches only when the boot system configures addresses.
    pub(in crate::check) fn addressed_servers(&self) -> AddressedServers {
        let servers = self.command.servers();
        let made = self.made();
        let all = servers.targets().count();
        match servers
            .targets()
            .filter(|it| needs_address(&made, it))
            .count()
        {
            _ if self.command.parameters.forbids_addresses => AddressedServers::None,
            0 => AddressedServers::None,
            count if count == all => AddressedServers::All,
            _ => AddressedServers::Some,
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

    fn route(
        &self,
        way: &ServerRoute,
        to: IpAddr,
        via: Option<IpAddr>,
        verdict: &mut ServerFindings,
    ) {
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
                    let message = format!(
                        "{to}: a router gives the address for it at boot, as it does now; that is not tried"
                    );
                    return verdict.add(Level::Warning, message, None);
                }
                let message = format!("a boot does not reach {to}: {why}");
                return verdict.add(Level::Failed, message, Some(LEARN));
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
            let message = format!(
                "a boot does not reach {to}: the running system has the address of {link} by DHCP, and a boot asks for none \
                 on a link that it makes"
            );
            let hint = "put a static address into network.conf";
            return verdict.add(Level::Failed, message, Some(hint));
        }
        if at_boot.by_dhcp && self.asks() {
            let message = format!(
                "a boot asks for an address by DHCP on {link} to reach {to}, as the running system did: that is not tried"
            );
            return verdict.add(Level::Warning, message, None);
        }
        if at_boot.by_dhcp {
            let message = format!(
                "a boot does not reach {to}: the running system has the address of {link} by DHCP, and a boot asks \
                 for none"
            );
            let hint =
                "put ip=dhcp on the kernel's command line, or a static address into network.conf";
            return verdict.add(Level::Failed, message, Some(hint));
        }
        if !same_link || at_boot.via != via {
            let message = format!(
                "a boot would reach {to} over {link} {}; now it is reached over {now} {}",
                shown(at_boot.via),
                shown(via)
            );
            return verdict.add(Level::Failed, message, Some(LEARN));
        }
        let message = format!(
            "a boot reaches {to} over {link} {}, as the running system does",
            shown(via)
        );
        verdict.add(Level::Ok, message, None);
    }
}

fn routed(routes: &[ServerRoute]) -> impl Iterator<Item = IpAddr> {
    routes.iter().filter_map(|way| match &way.reach {
        ReachMethod::Routed(routed) => Some(routed.to),
        ReachMethod::Neighbour => None,
    })
}
