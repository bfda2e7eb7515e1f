//! `$VAR` and `~user` in a path, as `secfile` allows them. Pure: the caller knows the environment.

use std::path::{Path, PathBuf};

/// Replaces `$NAME` and `${NAME}` by `variable(NAME)`, then a leading `~` or `~user` by `home(None)`
/// or `home(Some(user))`. What is not known stays as it is written, as in Python's `os.path`.
pub fn expand(
    path: &Path,
    variable: impl Fn(&str) -> Option<String>,
    home: impl Fn(Option<&str>) -> Option<String>,
) -> PathBuf {
    let Some(path) = path.to_str() else {
        return path.to_owned();
    };
    let path = variables(path, variable);
    let Some(rest) = path.strip_prefix('~') else {
        return path.into();
    };
    let (user, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match home(Some(user).filter(|user| !user.is_empty())) {
        Some(home) => {
            let whole = format!("{}{tail}", home.trim_end_matches('/'));
            if whole.is_empty() {
                "/".into()
            } else {
                whole.into()
            }
        }
        None => path.into(),
    }
}

fn variables(path: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, tail)) = rest.split_once('$') {
        out.push_str(plain);
        let (name, after) = match tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
            Some(braced) => braced,
            None => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                tail.split_at(tail.find(|c| !word(c)).unwrap_or(tail.len()))
            }
        };
        match Some(name)
            .filter(|name| !name.is_empty())
            .and_then(&variable)
        {
            Some(value) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(path: &str) -> String {
        let variable = |name: &str| (name == "DIR").then(|| "/srv".to_owned());
        let home = |user: Option<&str>| match user {
            None => Some("/root".to_owned()),
            Some("ada") => Some("/home/ada/".to_owned()),
            Some("top") => Some("/".to_owned()),
            Some(_) => None,
        };
        let path = expand(Path::new(path), variable, home);
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn variables_and_homes_are_expanded() {
        for (path, expected) in [
            ("/etc/keys/a", "/etc/keys/a"),
            ("$DIR/a", "/srv/a"),
            ("/x${DIR}y", "/x/srvy"),
            ("~/a", "/root/a"),
            ("~ada/a", "/home/ada/a"),
            ("~ada", "/home/ada"),
            ("~top", "/"),
            ("/a~b", "/a~b"),
        ] {
            assert_eq!(expanded(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_known_stays() {
        for path in [
            "$NOPE/a",
            "${NOPE}/a",
            "~nobody/a",
            "$",
            "${",
            "${}",
            "$/a",
            "a$$",
        ] {
            assert_eq!(expanded(path), path);
        }
    }
}
