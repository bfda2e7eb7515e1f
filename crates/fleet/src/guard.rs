//! Words about the guard of a client, for tables and details.

use nightlatch_bus::client::ClientView;
use nightlatch_console::output::Style;
use nightlatch_core::guard::{GuardState, Suspicion};
use nightlatch_core::time::Wall;

/// True for a client with a host key, a suspicion or an unaccounted release.
pub(crate) fn is_shown(client: &ClientView) -> bool {
    let guard = &client.guard;
    !guard.host_key_id.is_empty() || guard.suspect.is_some() || guard.unaccounted > 0
}

/// A word or two for a table, and their style. Empty where there is nothing to say.
pub(crate) fn word(client: &ClientView) -> (String, Style) {
    let guard = &client.guard;
    let Some(state) = guard.state.filter(|_| is_shown(client)) else {
        return (String::new(), Style::Plain);
    };
    if let Some(reason) = guard.suspect {
        return (reason.as_str().to_owned(), Style::Bad);
    }
    let style = match state {
        GuardState::Off => Style::Dim,
        GuardState::Quiet => Style::Warning,
        GuardState::Unarmed | GuardState::Up | GuardState::Leaving | GuardState::Opened => {
            Style::Plain
        }
    };
    match unaccounted(client) {
        0 => (state.as_str().to_owned(), style),
        count => (
            format!("{}, {count} unaccounted", state.as_str()),
            Style::Warning,
        ),
    }
}

/// The guard in a line of details, with points in time as `show` has them; `None` where there is nothing to say.
pub(crate) fn line(client: &ClientView, show: impl Fn(Wall) -> String) -> Option<String> {
    let state = client.guard.state.filter(|_| is_shown(client))?;
    let meaning = match state {
        GuardState::Off => "guard = no".to_owned(),
        GuardState::Unarmed => "its agent was never heard".to_owned(),
        GuardState::Up => "the agent is asked before a release".to_owned(),
        GuardState::Quiet => "the agent is silent".to_owned(),
        GuardState::Leaving => match client.guard.leaving_until {
            Some(until) => format!("a boot is expected until {}", show(until)),
            None => "the machine said goodbye".to_owned(),
        },
        GuardState::Opened => "released, and the agent was not heard since".to_owned(),
    };
    let releases = match unaccounted(client) {
        0 => String::new(),
        1 => "; 1 release is unaccounted for".to_owned(),
        count => format!("; {count} releases are unaccounted for"),
    };
    Some(format!("{}: {meaning}{releases}", state.as_str()))
}

/// The suspicion in a line of details.
pub(crate) const fn suspicion(reason: Suspicion) -> &'static str {
    match reason {
        Suspicion::Doubled => "doubled: an earlier boot is up beside a later one",
        Suspicion::Impostor => "impostor: its boot key was used while it was up",
        Suspicion::ServedImpostor => "served-impostor: its disk password is known to somebody else",
    }
}

/// Number of unaccounted releases to show. One fewer while the guard is opened: that state shows the last release.
fn unaccounted(client: &ClientView) -> u32 {
    match client.guard.state {
        Some(GuardState::Opened) => client.guard.unaccounted.saturating_sub(1),
        _ => client.guard.unaccounted,
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_console::output::human;

    use super::*;
    use crate::verbs::samples::{NOW, agent, client};

    #[test]
    fn a_table_has_the_word_that_matters_most() {
        let mut view = agent("web1");
        assert_eq!(word(&view), ("up".to_owned(), Style::Plain));
        view.guard.state = Some(GuardState::Opened);
        view.guard.unaccounted = 1;
        assert_eq!(word(&view), ("opened".to_owned(), Style::Plain));
        view.guard.state = Some(GuardState::Quiet);
        let told = ("quiet, 1 unaccounted".to_owned(), Style::Warning);
        assert_eq!(word(&view), told);
        view.guard.suspect = Some(Suspicion::Impostor);
        assert_eq!(word(&view), ("impostor".to_owned(), Style::Bad));
        // A client without an agent, of any server.
        assert_eq!(word(&client("web1")), (String::new(), Style::Plain));
        let mut none = client("web1");
        none.guard.state = Some(GuardState::Unarmed);
        assert_eq!(word(&none), (String::new(), Style::Plain));
    }

    #[test]
    fn a_line_says_what_the_word_means() {
        let line = |view: &_| line(view, |wall| human::time_and_distance(wall, NOW));
        let mut view = agent("web1");
        view.guard.state = Some(GuardState::Leaving);
        view.guard.leaving_until = Some(NOW.after(std::time::Duration::from_secs(120)));
        assert_eq!(
            line(&view).unwrap(),
            "leaving: a boot is expected until 2026-11-21T23:21:55Z (in 2 min)"
        );
        view.guard.state = Some(GuardState::Opened);
        view.guard.unaccounted = 2;
        assert_eq!(
            line(&view).unwrap(),
            "opened: released, and the agent was not heard since; 1 release is unaccounted for"
        );
        assert_eq!(line(&client("web1")), None);
    }
}
