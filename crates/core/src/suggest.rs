//! Suggestions for unknown words.

/// Longest word that is compared: the time grows with the square of the length.
const MAX_LENGTH: usize = 64;

/// The known word most similar to `word`, if a typing error explains the difference: one insertion, deletion,
/// substitution or swap of neighbours for each three letters, three at most.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word: Vec<char> = word.chars().take(MAX_LENGTH + 1).collect();
    if word.len() > MAX_LENGTH {
        return None;
    }
    let near = |known: &'k str| {
        let letters: Vec<char> = known.chars().collect();
        let slips = (letters.len() / 3).clamp(1, 3);
        let distance = distance(&word, &letters);
        (distance <= slips).then_some((distance, known))
    };
    let nearest = known.into_iter().filter_map(near).min();
    nearest.map(|(_, known)| known)
}

/// Optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (above[j] + 1)
                .min(row[j - 1] + 1)
                .min(above[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_recognised() {
        let known = ["host", "timeout", "extended_timeout", "secret", "secfile"];
        for (word, meant) in [
            ("hots", Some("host")),
            ("timout", Some("timeout")),
            ("extended-timeout", Some("extended_timeout")),
            ("secrte", Some("secret")),
            ("ssh_fingerprint", None),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }

    #[test]
    fn a_very_long_word_is_not_compared() {
        assert_eq!(nearest(&"x".repeat(1_000_000), ["host"]), None);
    }
}
