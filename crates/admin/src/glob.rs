//! Patterns of names, as in a shell: `*` any text, `?` any character, `[a-f]` one of these, `[!a-f]` none
//! of these. There is no escape: what stands between brackets stands for itself.

/// Whether `text` has a character that makes it a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether `pattern` fits the whole of `text`. Takes at most the product of their lengths in steps.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut next) = (0, 0);
    // Where the last `*` was, and how much of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    while next < text.len() {
        match one(&pattern[at..], text[next]) {
            Some(length) => {
                at += length;
                next += 1;
            }
            None if pattern.get(at) == Some(&'*') => {
                star = Some((at, next));
                at += 1;
            }
            None => {
                let Some((position, taken)) = star else {
                    return false;
                };
                star = Some((position, taken + 1));
                at = position + 1;
                next = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

/// Whether what `pattern` begins with fits one character; how long that is. Never for `*`.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern.first()? {
        '*' => None,
        '?' => Some(1),
        '[' => match set(&pattern[1..]) {
            Some((negated, members)) => {
                let length = 2 + usize::from(negated) + members.len();
                (holds(members, character) != negated).then_some(length)
            }
            // Without its end it is a bracket.
            None => (character == '[').then_some(1),
        },
        other => (*other == character).then_some(1),
    }
}

/// What stands between brackets, and whether it is negated. A `]` that comes first is a member.
fn set(rest: &[char]) -> Option<(bool, &[char])> {
    let negated = matches!(rest.first(), Some('!' | '^'));
    let rest = &rest[usize::from(negated)..];
    let end = rest
        .iter()
        .skip(1)
        .position(|character| *character == ']')?
        + 1;
    Some((negated, &rest[..end]))
}

fn holds(members: &[char], character: char) -> bool {
    let mut rest = members;
    loop {
        match rest {
            [first, '-', last, tail @ ..] => {
                if (*first..=*last).contains(&character) {
                    return true;
                }
                rest = tail;
            }
            [first, tail @ ..] => {
                if *first == character {
                    return true;
                }
                rest = tail;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("web*", "web-1.example", true),
            ("*.example", "web-1.example", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("web-?", "web-1", true),
            ("web-?", "web-12", false),
            ("web-[0-3]", "web-2", true),
            ("web-[0-3]", "web-4", false),
            ("web-[!0-3]", "web-4", true),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("a[b", "a[b", true),
            ("bä?", "bär", true),
            ("**", "abc", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_fits_or_does_not(pattern in r"[ab\[\]!*?-]{0,12}", text in "[ab]{0,12}") {
            let _ = matches(&pattern, &text);
        }

        #[test]
        fn a_text_fits_itself_and_its_ends(text in "[a-z0-9.-]{0,12}", cut in 0usize..12) {
            prop_assert!(matches(&text, &text));
            let cut = cut.min(text.len());
            let begin = text[..cut].to_owned() + "*";
            prop_assert!(matches(&begin, &text));
            let end = "*".to_owned() + &text[cut..];
            prop_assert!(matches(&end, &text));
        }
    }
}
