//! The users and groups that a file allows something, as `user, @group`.

use std::fmt;

use super::Problem;
use super::one_section::{filled, words};

/// A user, or the members of a group, as the administrator writes it. This machine need not have them now.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AllowedCaller {
    /// The user with this name.
    User(String),
    /// The members of the group with this name: `@` and the name in the file.
    Group(String),
}

impl fmt::Display for AllowedCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// The callers of a list; none when it is empty.
pub(super) fn callers(raw: &str) -> Result<Vec<AllowedCaller>, Problem> {
    let callers: Result<Vec<AllowedCaller>, Problem> = words(raw).map(caller).collect();
    match (callers?, filled(raw)) {
        (callers, Some(raw)) if callers.is_empty() => Err(Problem::Caller(raw.to_owned())),
        (callers, _) => Ok(callers),
    }
}

fn caller(word: &str) -> Result<AllowedCaller, Problem> {
    let (is_group, name) = match word.strip_prefix('@') {
        Some(name) => (true, name),
        None => (false, word),
    };
    let first = |letter: char| letter.is_alphanumeric() || letter == '_';
    let other = |letter: char| letter.is_alphanumeric() || "_-.$@\\+".contains(letter);
    let fits = name.starts_with(first) && name.chars().all(other) && !all_digits(name);
    match (fits, is_group) {
        (false, _) => Err(Problem::Caller(word.to_owned())),
        (true, true) => Ok(AllowedCaller::Group(name.to_owned())),
        (true, false) => Ok(AllowedCaller::User(name.to_owned())),
    }
}

/// A number would be taken for the name of a user, and there is none with it.
fn all_digits(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}
