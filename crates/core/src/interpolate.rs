//! `%(name)s` in values, resolved when a file is read (Python's `BasicInterpolation`).
//!
//! Not the expansion of a checker at each run, which is in [`crate::checker`].

use std::borrow::Cow;

/// Nesting limit of references, the value itself included, as in Python.
const MAX_DEPTH: usize = 10;

/// Limit on the references of one value in total. Ten levels of values with ten references each would otherwise take
/// ten thousand million steps.
const MAX_REFERENCES: usize = 10_000;

/// Limit on the length of a value in bytes, for the same reason.
const MAX_LENGTH: usize = 1 << 20;

/// Replaces each `%(name)s` in `value` by the result of `lookup` for the name in lower case, itself interpolated, and
/// each `%%` by `%`.
pub fn interpolate<'v, 'l>(
    value: &'v str,
    lookup: &dyn Fn(&str) -> Option<&'l str>,
) -> Result<Cow<'v, str>, InterpolationError> {
    if !value.contains('%') {
        return Ok(Cow::Borrowed(value));
    }
    let mut interpolation = Interpolation {
        lookup,
        out: String::with_capacity(value.len()),
        references: 0,
    };
    interpolation.expand(value, 1)?;
    Ok(Cow::Owned(interpolation.out))
}

/// The names that `value` refers to, in lower case, up to the first malformed reference.
pub fn references(value: &str) -> impl Iterator<Item = String> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let (_, part, tail) = next_part(rest).ok().flatten()?;
            rest = tail;
            if let ValuePart::Reference(name) = part {
                return Some(name);
            }
        }
    })
}

/// A value cannot be interpolated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InterpolationError {
    /// A name that is set nowhere.
    #[error(
        "%({name})s refers to a key that is set neither in this section nor in [DEFAULT]; write %% for a plain %"
    )]
    Unknown {
        /// The name in lower case.
        name: String,
    },
    /// `%(` without its `)s`.
    #[error("a reference must be written %(key)s; write %% for a plain %")]
    Malformed,
    /// A lone `%`.
    #[error("expected % or ( after %; write %% for a plain %")]
    Lone,
    /// References nest too deep, most likely in a circle.
    #[error("references nest more than 10 deep at %({name})s; does it refer to itself?")]
    TooDeep {
        /// The name in lower case.
        name: String,
    },
    /// Too many references, or a value of over a mebibyte.
    #[error(
        "the references multiply to more than 10000 or to over 1 MiB; expected a shorter value"
    )]
    TooLong,
}

struct Interpolation<'a, 'l> {
    lookup: &'a dyn Fn(&str) -> Option<&'l str>,
    out: String,
    references: usize,
}

impl Interpolation<'_, '_> {
    fn expand(&mut self, value: &str, depth: usize) -> Result<(), InterpolationError> {
        let mut rest = value;
        while let Some((plain, part, tail)) = next_part(rest)? {
            self.push(plain)?;
            rest = tail;
            match part {
                ValuePart::Percent => self.push("%")?,
                ValuePart::Reference(name) => self.follow(name, depth)?,
            }
        }
        self.push(rest)
    }

    fn follow(&mut self, name: String, depth: usize) -> Result<(), InterpolationError> {
        self.references += 1;
        if self.references > MAX_REFERENCES {
            return Err(InterpolationError::TooLong);
        }
        match (self.lookup)(&name) {
            None => Err(InterpolationError::Unknown { name }),
            Some(value) if !value.contains('%') => self.push(value),
            Some(_) if depth == MAX_DEPTH => Err(InterpolationError::TooDeep { name }),
            Some(value) => self.expand(value, depth + 1),
        }
    }

    fn push(&mut self, text: &str) -> Result<(), InterpolationError> {
        if self.out.len() + text.len() > MAX_LENGTH {
            return Err(InterpolationError::TooLong);
        }
        self.out.push_str(text);
        Ok(())
    }
}

/// A part of a value that begins with `%`.
enum ValuePart {
    Percent,
    Reference(String),
}

/// The text up to the next `%`, the part that this begins, and the rest; `None` without a `%`.
fn next_part(text: &str) -> Result<Option<(&str, ValuePart, &str)>, InterpolationError> {
    let Some((plain, rest)) = text.split_once('%') else {
        return Ok(None);
    };
    if let Some(rest) = rest.strip_prefix('%') {
        return Ok(Some((plain, ValuePart::Percent, rest)));
    }
    let rest = rest.strip_prefix('(').ok_or(InterpolationError::Lone)?;
    let (name, rest) = rest.split_once(')').ok_or(InterpolationError::Malformed)?;
    let rest = rest
        .strip_prefix('s')
        .ok_or(InterpolationError::Malformed)?;
    if name.is_empty() {
        return Err(InterpolationError::Malformed);
    }
    Ok(Some((
        plain,
        ValuePart::Reference(name.to_lowercase()),
        rest,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(value: &str, keys: &[(&str, &str)]) -> Result<String, InterpolationError> {
        let lookup = |name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
        interpolate(value, &lookup).map(Cow::into_owned)
    }

    #[test]
    fn references_are_followed_and_percents_unescaped() {
        let keys = [("host", "a.example"), ("mail", "root@%(HOST)s")];
        assert_eq!(
            with("to %(mail)s 100%%", &keys),
            Ok("to root@a.example 100%".into())
        );
    }

    #[test]
    fn an_unknown_name_is_named() {
        let error = with("%(Hots)s", &[]).unwrap_err();
        assert_eq!(
            error,
            InterpolationError::Unknown {
                name: "hots".into()
            }
        );
        assert!(error.to_string().starts_with("%(hots)s refers to"));
    }

    #[test]
    fn malformed_references_are_refused() {
        for value in ["%(host)", "%()s", "%(host", "%(host)d"] {
            assert_eq!(
                with(value, &[("host", "h")]),
                Err(InterpolationError::Malformed)
            );
        }
        for value in ["%", "50 % of", "%s"] {
            assert_eq!(with(value, &[]), Err(InterpolationError::Lone));
        }
    }

    #[test]
    fn a_circle_ends() {
        let error = with("%(a)s", &[("a", "%(b)s"), ("b", "%(a)s")]).unwrap_err();
        assert!(matches!(error, InterpolationError::TooDeep { .. }));
    }

    #[test]
    fn ten_levels_are_followed_and_eleven_refused() {
        let names: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
        let values: Vec<String> = (0..12).map(|n| format!("%(k{})s", n + 1)).collect();
        let mut keys: Vec<(&str, &str)> = (0..12)
            .map(|n| (names[n].as_str(), values[n].as_str()))
            .collect();
        keys[10].1 = "end";
        assert_eq!(with("%(k1)s", &keys), Ok("end".into()));
        assert!(with("%(k0)s", &keys).is_err());
    }

    #[test]
    fn references_that_multiply_are_refused_at_once() {
        let wide = "%(b)s".repeat(1000);
        let wider = "%(c)s".repeat(1000);
        let keys = [("a", wide.as_str()), ("b", wider.as_str()), ("c", "")];
        assert_eq!(with("%(a)s", &keys), Err(InterpolationError::TooLong));
    }

    #[test]
    fn the_names_referred_to_are_found() {
        let names: Vec<String> = references("%(A)s %%(b)s %(c)s % %(d)s").collect();
        assert_eq!(names, ["a", "c"]);
    }

    proptest! {
        #[test]
        fn any_value_is_interpolated_or_refused(value: String, other: String) {
            let _ = interpolate(&value, &|_| Some(other.as_str()));
        }

        #[test]
        fn doubled_percents_are_given_back(value: String) {
            prop_assert_eq!(with(&value.replace('%', "%%"), &[]), Ok(value));
        }
    }
}
